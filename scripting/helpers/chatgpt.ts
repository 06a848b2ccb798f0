/** `chatgpt`: a language model of a third party. Not served yet: its members throw, by name. */
import type { Helper } from '../helper.ts'

export const helper: Helper = {
  name: 'chatgpt',
  later: ['prompt', 'sentiment'],
}
