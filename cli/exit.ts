/** Exit codes, as docs/cli.md promises them. */
export const EXIT = {
  ok: 0,
  /** Something that no input may cause. */
  bug: 1,
  /** `replay`: the server answers otherwise than it was recorded. As diff and cmp have it. */
  different: 1,
  /** Wrong usage, a file that is missing or no capture, a script that does not load, no privilege. */
  input: 2,
  /** Everything was read, but a script threw or was set apart. */
  script: 3,
  /** `spool deliver` or `retry` ended, and something still waits or was refused. */
  undelivered: 4,
  interrupted: 130,
  terminated: 143,
} as const
