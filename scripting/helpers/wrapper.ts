/** `wrapper`: recipes made of other helpers. Not served yet: its members throw, by name. */
import type { Helper } from '../helper.ts'

export const helper: Helper = {
  name: 'wrapper',
  later: ['kflPcapS3', 'pcapSnapshot', 'buildHAR', 'joinMaps'],
}
