/**
 * The contract of a global that scripts find. A file in scripting/helpers that exports `helper` is a global of that
 * name: nothing else has to be edited. What a script may do, the host does for it, after checking.
 */
import { readdir } from 'node:fs/promises'
import type { HelperBridge } from './sandbox/inside/runtime.ts'

export interface Helper {
  /** Name of the global. */
  name: string
  /** Calls that the host carries out, by member (`webhook`, `s3.put`). */
  calls?: Record<string, Call>
  /** Members that scripts may know and that are not served yet: they throw, by name. */
  later?: readonly string[]
  /**
   * What needs no host. Runs inside the isolate and travels there as text: it sees its argument and JavaScript's own
   * globals, nothing of this module.
   */
  inside?(bridge: HelperBridge): object
}

export interface Call {
  /** Checks what came from the script and says what is to be sent. Runs in the host. */
  order(args: Arguments): NewOrder
  /** What the script's call returns. */
  value(reply: SendReply): unknown
}

/** What can be sent, by kind: each helper that sends adds its own by declaration merging. */
// biome-ignore lint/suspicious/noEmptyInterface: filled in by the helpers.
export interface SendOrders {}
export type NewOrder = { [Kind in keyof SendOrders]: { kind: Kind } & SendOrders[Kind] }[keyof SendOrders]

/** `script` is the title of the script that sends. */
export type SendOrder = NewOrder & { script: string }

export interface SendReply {
  /** What the other side answered, as far as it is known when the order is safe. */
  body: string
}

/** Arguments of one call, from a script and so not to be believed. */
export class Arguments {
  readonly #call: string
  readonly #values: readonly unknown[]

  /** `call`: the member as scripts write it, `vendor.webhook`. */
  constructor(call: string, values: readonly unknown[]) {
    this.#call = call
    this.#values = values
  }

  text(index: number, name: string): string {
    const value = this.#values[index]
    if (typeof value !== 'string') this.fail(index, name, 'a string')
    return value
  }

  /** An http or https address. */
  url(index: number, name: string): string {
    const value = this.text(index, name)
    const url = URL.canParse(value) ? new URL(value) : null
    if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:'))
      this.fail(index, name, 'an http or https address')
    return value
  }

  /** A string as it is, anything else as JSON; nothing is the empty string. */
  body(index: number): string {
    const value = this.#values[index]
    if (typeof value === 'string') return value
    return value === undefined || value === null ? '' : JSON.stringify(value)
  }

  /** An object whose values are strings or numbers; nothing is the empty object. */
  texts(index: number, name: string): Record<string, string> {
    const value = this.#values[index]
    if (value === undefined || value === null) return {}
    if (typeof value !== 'object' || Array.isArray(value)) this.fail(index, name, 'an object of strings')
    const texts: Record<string, string> = {}
    for (const [key, one] of Object.entries(value)) {
      if (typeof one !== 'string' && typeof one !== 'number') this.fail(index, `${name}.${key}`, 'a string', one)
      texts[key] = String(one)
    }
    return texts
  }

  fail(index: number, name: string, expected: string, found = this.#values[index]): never {
    throw new TypeError(
      `${this.#call}: expected ${name} (argument ${index + 1}) to be ${expected}, found ${shown(found)}`,
    )
  }
}

/** Enough of a wrong argument to recognise it. */
const SHOWN = 60

function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  const text = JSON.stringify(value) ?? String(value)
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text
}

const FOLDER = new URL('helpers/', import.meta.url)

export async function loadHelpers(): Promise<Helper[]> {
  const files = (await readdir(FOLDER)).filter(file => file.endsWith('.ts') && !file.endsWith('.test.ts')).sort()
  return Promise.all(files.map(async file => ((await import(new URL(file, FOLDER).href)) as { helper: Helper }).helper))
}
