/** `pcap`: files of captured packets. Not served yet: its members throw, by name. */
import type { Helper } from '../helper.ts'

export const helper: Helper = {
  name: 'pcap',
  later: ['nameResolutionHistory', 'snapshot', 'path'],
}
