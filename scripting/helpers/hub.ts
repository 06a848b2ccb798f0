/** `hub`: words from workers to the hub. Not served yet: its members throw, by name. */
import type { Helper } from '../helper.ts'

export const helper: Helper = {
  name: 'hub',
  later: ['action', 'targeted', 'blockPod'],
}
