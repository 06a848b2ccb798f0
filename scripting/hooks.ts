/** The functions of a script that are called, by name. */

export interface HookName {
  name: string
  /** When it is called. */
  when: string
  /** Another name of the same hook. */
  alias?: string
  served: boolean
}

export const HOOKS: readonly HookName[] = [
  { name: 'onItemCaptured', when: 'a message was dissected', served: true },
  { name: 'onPacketCaptured', when: 'a packet was captured', served: true },
  { name: 'onPacket', when: 'a packet was captured', alias: 'onPacketCaptured', served: true },
  { name: 'onItemQueried', when: 'a stored item is shown', served: false },
  { name: 'onJobPassed', when: 'a job ended well', served: false },
  { name: 'onJobFailed', when: 'a job threw', served: false },
  { name: 'onHubAction', when: 'a script called hub.action', served: false },
  { name: 'onPodEvent', when: 'a pod came, changed or went', served: false },
  { name: 'onLogCall', when: 'the program logged something', served: false },
]

/** The hook that was probably meant; null when nothing is near. */
export function nearestHook(name: string): string | null {
  const near = HOOKS.map(hook => ({ name: hook.name, steps: distance(hook.name.toLowerCase(), name.toLowerCase()) }))
  near.sort((a, b) => a.steps - b.steps)
  return near[0]!.steps <= Math.max(2, name.length / 3) ? near[0]!.name : null
}

/** Levenshtein's: letters to insert, delete or replace. */
function distance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      row[j] = Math.min(above[j]! + 1, row[j - 1]! + 1, above[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1))
    }
    above = row
  }
  return above[b.length]!
}
