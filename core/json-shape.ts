/**
 * Writes objects whose fields are known in advance as JSON, straight into bytes: keys are bytes already, numbers need no
 * text in between, and what many objects share can be written once for all of them.
 */
import { constant, type JsonWriter } from './json-writer.ts'

export type Writes<Value> = (out: JsonWriter, value: Value) => void

/** What writes each field, in order. A field that is undefined is left out. */
export type Fields<Shape> = { readonly [Key in keyof Shape]-?: Writes<Exclude<Shape[Key], undefined>> }

export function shapeOf<Shape extends object>(fields: Fields<Shape>): Writes<Shape> {
  const keys = Object.keys(fields) as (keyof Shape)[]
  const texts = keys.map(key => constant(`,${JSON.stringify(key)}:`))
  const writes = keys.map(key => fields[key]) as Writes<unknown>[]
  return (out, value) => {
    const start = out.length
    for (let i = 0; i < keys.length; i++) {
      const field = value[keys[i]!]
      if (field === undefined) continue
      out.raw(texts[i]!)
      writes[i]!(out, field)
    }
    if (out.length === start) out.byte(COMMA)
    out.bytes[start] = OPEN
    out.byte(CLOSE)
  }
}

export function listOf<Value>(write: Writes<Value>): Writes<readonly Value[]> {
  return (out, values) => {
    out.byte(OPEN_LIST)
    for (let i = 0; i < values.length; i++) {
      if (i > 0) out.byte(COMMA)
      write(out, values[i]!)
    }
    out.byte(CLOSE_LIST)
  }
}

export function orNull<Value>(write: Writes<Value>): Writes<Value | null> {
  return (out, value) => {
    if (value === null) out.raw(NULL)
    else write(out, value)
  }
}

/** Letters, digits and signs that need no escape, as names and hex have them. */
export function plain(out: JsonWriter, value: string): void {
  out.plain(value)
}

/** Any text. */
export function text(out: JsonWriter, value: string): void {
  if (!out.asciiString(value)) out.value(value)
}

export function number(out: JsonWriter, value: number): void {
  out.integer(value)
}

export function flag(out: JsonWriter, value: boolean): void {
  out.raw(value ? TRUE : FALSE)
}

/** Whatever it is. */
export function json(out: JsonWriter, value: unknown): void {
  out.value(value)
}

const [COMMA, OPEN, CLOSE, OPEN_LIST, CLOSE_LIST] = [0x2c, 0x7b, 0x7d, 0x5b, 0x5d]
const NULL = constant('null')
const TRUE = constant('true')
const FALSE = constant('false')
