/** `aggregation`: lines for log collectors. Not served yet: its members throw, by name. */
import type { Helper } from '../helper.ts'

export const helper: Helper = {
  name: 'aggregation',
  later: ['msg', 'json', 'jsonWithMsg'],
}
