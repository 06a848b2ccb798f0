/** `file`: files in the script's own folder. Not served yet: its members throw, by name. */
import type { Helper } from '../helper.ts'

export const helper: Helper = {
  name: 'file',
  later: ['write', 'append', 'move', 'copy', 'delete', 'mkdir', 'mkdirTemp', 'temp', 'tar'],
}
