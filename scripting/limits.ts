/** What scripts may use before somebody else would feel it. */

export interface Limits {
  /** MB of memory of one script: one that collects without end must not take the node's memory. */
  memoryMb: number
  /** ms that one call of a hook may run, waiting for helpers not counted: loops and regular expressions may never end. */
  callMs: number
  /** ms that one call of a script's dissector may run: all that is captured waits for it. */
  dissectMs: number
  /** ms that a script's top level may run. */
  loadMs: number
  /** ms that a call may overrun its limit, deaf to it inside the engine, until the process is killed. */
  graceMs: number
  /** MB of memory of the sandbox process beside `memoryMb` of each script: some allocations escape a script's limit. */
  processMb: number
  /**
   * Bytes of items held until every script has seen and dropped them: a slow script makes the caller wait. Each time
   * they are let go of, every script's memory is searched for items that it keeps.
   */
  heldBytes: number
  /** Items that travel together, and the bytes of them that are held: a journey costs as much as some hundred calls. */
  sheafItems: number
  sheafBytes: number
  /** ms that an item waits for company. */
  lingerMs: number
  /** Lines of console that a script may print at once, and for how many each second on: others' lines must stay readable. */
  consoleLines: number
  consoleLinesPerSecond: number
  /** Characters of one line. */
  consoleText: number
  /** Timers of one script that wait: each is a task of the process. */
  timers: number
  /** Calls in a row that end for want of stack or of memory: each takes as long as a thousand others. */
  exhaustions: number
  /** Distinct causes of failure that one script is reported for; further ones are counted. */
  causes: number
  /** ms that promises and timers get to end when the host stops. */
  stopMs: number
}

export const LIMITS: Limits = {
  memoryMb: 128,
  callMs: 1000,
  dissectMs: 50,
  loadMs: 5000,
  graceMs: 1000,
  processMb: 384,
  heldBytes: 48 * 1024 * 1024,
  sheafItems: 2048,
  sheafBytes: 12 * 1024 * 1024,
  lingerMs: 100,
  consoleLines: 1000,
  consoleLinesPerSecond: 200,
  consoleText: 8192,
  timers: 1000,
  exhaustions: 30,
  causes: 20,
  stopMs: 2000,
}
