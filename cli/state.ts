/** Where what outlives a run is kept: XDG base directories, for what should survive a restart and is no setting. */
import { homedir } from 'node:os'
import { join } from 'node:path'

export function stateFolder(name: string): string {
  return join(process.env.XDG_STATE_HOME || join(homedir(), '.local', 'state'), 'hookline', name)
}
