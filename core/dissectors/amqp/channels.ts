/**
 * What waits for an answer on each channel of a connection. Methods are answered in their order; what was published in
 * confirm mode is confirmed by its number, alone or with all before it (basic.ack, basic.nack).
 */
import type { Side } from '../../dissector.ts'
import type { Method } from './methods.ts'

export interface Channel {
  client: Asked[]
  server: Asked[]
  /** null: not in confirm mode, or nobody knows. */
  confirms: Confirms | null
}

export type Channels = Map<number, Channel>

/** A method that waits for its answer. */
export interface Asked {
  name: string
  answers: readonly string[]
  /** null: its item is complete already, and its answer is an event. */
  key: number | null
}

export interface Confirms {
  /** What the next publish will be confirmed by. */
  next: number
  /** Keys and sizes of what is not confirmed yet, by number; in order. */
  waiting: Map<number, { key: number; size: number }>
  bytes: number
}

/** Who never confirms must not fill the memory: what is published beyond these counts as unanswered at once. */
const MAX_UNCONFIRMED = 4096
const MAX_UNCONFIRMED_BYTES = 4 << 20

export function channelOf(channels: Channels, number: number): Channel {
  let channel = channels.get(number)
  if (channel === undefined) {
    channel = { client: [], server: [], confirms: null }
    channels.set(number, channel)
  }
  return channel
}

export function confirmsFrom(next: number): Confirms {
  return { next, waiting: new Map(), bytes: 0 }
}

/** Of all that waits there, on both sides. */
export function keysOf({ client, server, confirms }: Channel): number[] {
  const keys = [...client, ...server].flatMap(({ key }) => (key === null ? [] : [key]))
  if (confirms !== null) for (const { key } of confirms.waiting.values()) keys.push(key)
  return keys
}

/** The first of what `asker` asked that this may answer; it waits no longer. */
export function takeAsked(channel: Channel | undefined, asker: Side, answer: Method): Asked | undefined {
  const asked = channel?.[asker]
  const place = asked?.findIndex(({ answers }) => answers.includes(answer.name)) ?? -1
  return place < 0 ? undefined : asked!.splice(place, 1)[0]
}

/** All of the client's that waits on a channel that the server closes, but for a close of its own, which is answered. */
export function takeAll(channel: Channel): number[] {
  const isOver = ({ name, key }: Asked) => key !== null && !name.endsWith(' close')
  const keys = channel.client.filter(isOver).map(({ key }) => key!)
  channel.client = channel.client.filter(asked => !isOver(asked))
  if (channel.confirms !== null) {
    for (const { key } of channel.confirms.waiting.values()) keys.push(key)
    channel.confirms = null
  }
  return keys
}

/** Numbers what is published; false: it will not be remembered. */
export function expectConfirm(confirms: Confirms, key: number, size: number): boolean {
  const number = confirms.next++
  if (confirms.waiting.size >= MAX_UNCONFIRMED || confirms.bytes + size > MAX_UNCONFIRMED_BYTES) return false
  confirms.waiting.set(number, { key, size })
  confirms.bytes += size
  return true
}

/** Keys of what is confirmed by `number`; 0 and `multiple` mean all. */
export function takeConfirmed(confirms: Confirms, number: number, multiple: boolean): number[] {
  const { waiting } = confirms
  const keys: number[] = []
  const take = (one: number) => {
    const found = waiting.get(one)
    if (found === undefined) return
    waiting.delete(one)
    confirms.bytes -= found.size
    keys.push(found.key)
  }
  if (!multiple) take(number)
  else
    for (const one of waiting.keys()) {
      if (number !== 0 && one > number) break
      take(one)
    }
  return keys
}
