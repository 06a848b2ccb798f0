/** The heads of the frames between host and sandbox. */
import type { Limits } from '../limits.ts'
import type { DissectionSettings, Findings } from './dissection.ts'
import type { Definition } from './inside/dissectors.ts'
import type { Settings } from './inside/runtime.ts'

/** What the host knows of `Settings`. */
export type HostSettings = Omit<Settings, 'file' | 'sliceMs'>

export type ToSandbox =
  | { type: 'drop' }
  /** Text of the runtime, and the scripts by number. */
  | {
      type: 'load'
      inside: string
      settings: HostSettings
      dissection: DissectionSettings
      limits: Limits
      scripts: Load[]
      alone: boolean
    }
  /** Body: `cells` bytes of cells (a JSON array without its opening bracket), then texts. `columns` is JSON text of `[kind, ...path]` of each column. */
  | { type: 'items'; seq: number; count: number; columns: string; cells: number; to: number[] }
  | { type: 'packets'; seq: number; count: number; to: number[] }
  /** Body: records of sandbox/stream-records.ts. */
  | { type: 'streams' }
  /** Answer to `fetch`; body as for items. */
  | { type: 'fetched'; call: number; everyRow: boolean; kind: string; cells: number }
  /** Answer to `order`: JSON text, or what went wrong. */
  | { type: 'ordered'; call: number; value: string }
  | { type: 'refused'; call: number; error: string }
  | { type: 'settle'; script: number; through: number }
  /** Body: the lines of the batch. `starts` is JSON text. */
  | { type: 'keep'; script: number; seq: number; starts: string }
  /** Scripts run one at a time, or again beside each other. */
  | { type: 'alone'; alone: boolean }
  | { type: 'end' }

export interface Counts {
  passed: number
  failed: number
  errors: number
  muted: number
}

export interface Load {
  script: number
  file: string
  code: string
}

export type ToHost =
  /** All modules are loaded: the doors may be closed. */
  | { type: 'up' }
  /** Rights are dropped; no script is loaded yet. */
  | { type: 'dropped' }
  | { type: 'ready' }
  | { type: 'loaded'; script: number; hooks: string[]; dissectors: Definition[] }
  /** Sent before the script's thread is entered, so that the host knows whom to suspect. */
  | { type: 'enter'; script: number; hook: string }
  /** `seen`: all of the sheaf of that number. */
  | { type: 'leave'; script: number; cpuMs: number; seen: number | null; rows: number }
  /** Answer to `streams`, in order; body: lines of items. */
  | { type: 'dissected'; findings: Omit<Findings, 'items'> }
  /** Also a sign of life. */
  | { type: 'progress'; script: number; counts: Counts | null }
  | { type: 'fetch'; script: number; call: number; seq: number; row: number; path: string; whole: boolean }
  | { type: 'order'; script: number; call: number; global: string; member: string; args: string }
  | { type: 'console'; script: number; level: string; text: string }
  | { type: 'failed'; script: number; report: string }
  | { type: 'apart'; script: number; hook: string; kind: 'time' | 'memory'; cause: string; stack: string }
  | { type: 'settled'; script: number; through: number; alive: number[] }
  | { type: 'kept'; script: number; seq: number }
  | { type: 'ended'; unfinished: { script: number; count: number }[] }
