/** Where rings lie when nobody says otherwise. */
import { homedir } from 'node:os'
import { join } from 'node:path'

/** XDG base directories: what should outlive a restart and is no setting. */
export function defaultRing(): string {
  return join(process.env.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'hookline', 'ring')
}
