/** `prometheus`: metrics to scrape. Not served yet: its members throw, by name. */
import type { Helper } from '../helper.ts'

export const helper: Helper = {
  name: 'prometheus',
  later: ['metric', 'vector'],
}
