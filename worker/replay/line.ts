/** One connection or flow of datagrams to the target: what was received, whether it goes on, and waiting for either. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { connect, type Socket } from 'node:net'

/** The only address that a replay talks to, as the user's words were resolved. */
export interface Target {
  address: string
  family: 4 | 6
  port: number
}

/** Why a line is over, in words for users. */
export type Over =
  | 'the target refuses connections'
  | 'the target cannot be reached'
  | 'no more connections are possible here'
  | 'a datagram is longer than what can be sent here'
  | 'no connection within the timeout'
  | 'the target closed the connection'
  | 'the target reset the connection'
  | 'the target takes no more bytes'
  | 'interrupted'

export interface Line {
  /** Bytes, or datagrams. */
  readonly received: number
  /** When something was received last, as performance.now(). */
  readonly receivedAt: number
  /** null: it goes on. */
  readonly over: Over | null
  send(bytes: Uint8Array, timeoutMs: number): Promise<void>
  /** We send no more. */
  end(): void
  /** We hear no more either. */
  reset(): void
  /** Until something was received, it is over, or so many ms have passed. */
  change(ms: number): Promise<void>
  destroy(): void
}

/** Who is told at once of what the target says. */
export interface Ear {
  received(bytes: Uint8Array): void
  /** The target sends no more. */
  ended(): void
}

/** Sets off those who wait. */
class Bell {
  private waiting: (() => void)[] = []

  ring(): void {
    const { waiting } = this
    this.waiting = []
    for (const wake of waiting) wake()
  }

  wait(ms: number): Promise<void> {
    return new Promise(resolve => {
      const timer = setTimeout(wake, Math.min(Math.max(0, ms), LONGEST_MS))
      function wake() {
        clearTimeout(timer)
        resolve()
      }
      this.waiting.push(wake)
    })
  }
}

/** What a timer can count to. */
const LONGEST_MS = 2 ** 31 - 1

/** Without a connection it is over at once. */
export async function openTcp(target: Target, timeoutMs: number, signal: AbortSignal, ear: Ear): Promise<Line> {
  const line = new TcpLine(target, signal, ear)
  const until = performance.now() + timeoutMs
  while (!line.connected && line.over === null && performance.now() < until)
    await line.change(until - performance.now())
  if (!line.connected && line.over === null) line.giveUp('no connection within the timeout')
  return line
}

/** Somebody takes connections there. */
export async function accepts({ address: host, family, port }: Target, timeoutMs: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect({ host, family, port, timeout: timeoutMs })
    const settle = (accepted: boolean) => {
      socket.destroy()
      resolve(accepted)
    }
    socket.once('connect', () => settle(true))
    socket.once('timeout', () => settle(false))
    socket.once('error', () => settle(false))
  })
}

class TcpLine implements Line {
  received = 0
  receivedAt = 0
  over: Over | null = null
  connected = false
  private readonly socket: Socket
  private readonly bell = new Bell()
  private readonly signal: AbortSignal
  private readonly abort = () => this.giveUp('interrupted')

  constructor(target: Target, signal: AbortSignal, ear: Ear) {
    this.signal = signal
    const { address: host, family, port } = target
    const socket = connect({ host, family, port, allowHalfOpen: true, noDelay: true })
    this.socket = socket
    socket.on('connect', () => {
      this.connected = true
      this.bell.ring()
    })
    socket.on('data', bytes => {
      this.received += bytes.length
      this.receivedAt = performance.now()
      ear.received(bytes)
      this.bell.ring()
    })
    socket.on('drain', () => this.bell.ring())
    socket.on('end', () => {
      ear.ended()
      this.finish('the target closed the connection')
    })
    socket.on('error', (error: NodeJS.ErrnoException) =>
      this.finish(this.connected ? 'the target reset the connection' : causeOf(error)),
    )
    socket.on('close', () => this.finish('the target closed the connection'))
    signal.addEventListener('abort', this.abort)
    if (signal.aborted) this.abort()
  }

  /** Waits while the target does not take what was sent before. */
  async send(bytes: Uint8Array, timeoutMs: number): Promise<void> {
    const { socket } = this
    if (socket.destroyed || socket.writableEnded) return
    socket.write(bytes)
    const until = performance.now() + timeoutMs
    while (socket.writableNeedDrain && !socket.destroyed) {
      if (performance.now() > until) this.giveUp('the target takes no more bytes')
      else await this.bell.wait(until - performance.now() + 1)
    }
  }

  end(): void {
    this.socket.end()
  }

  change(ms: number): Promise<void> {
    return this.over === null ? this.bell.wait(ms) : Promise.resolve()
  }

  destroy(): void {
    this.signal.removeEventListener('abort', this.abort)
    this.socket.destroy()
  }

  reset(): void {
    this.signal.removeEventListener('abort', this.abort)
    this.socket.resetAndDestroy()
  }

  giveUp(cause: Over): void {
    this.finish(cause)
    this.socket.destroy()
  }

  private finish(cause: Over): void {
    this.over ??= cause
    this.bell.ring()
  }
}

/** A socket of its own for each flow, which hears the target alone. */
export async function openUdp(target: Target, signal: AbortSignal, ear: Ear): Promise<Line> {
  const line = new UdpLine(target, signal, ear)
  await line.opened
  return line
}

class UdpLine implements Line {
  received = 0
  receivedAt = 0
  over: Over | null = null
  readonly opened: Promise<void>
  private readonly socket: UdpSocket
  private readonly bell = new Bell()
  private readonly signal: AbortSignal
  private closed = false
  private readonly abort = () => this.giveUp('interrupted')

  constructor({ address, family, port }: Target, signal: AbortSignal, ear: Ear) {
    this.signal = signal
    this.socket = createSocket(family === 4 ? 'udp4' : 'udp6')
    this.socket.on('message', bytes => {
      this.received++
      this.receivedAt = performance.now()
      ear.received(bytes)
      this.bell.ring()
    })
    const { promise, resolve } = Promise.withResolvers<void>()
    this.opened = promise
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      this.giveUp(causeOf(error))
      resolve()
    })
    this.socket.connect(port, address, () => resolve())
    signal.addEventListener('abort', this.abort)
    if (signal.aborted) this.abort()
  }

  async send(bytes: Uint8Array): Promise<void> {
    if (this.closed) return
    await new Promise<void>(resolve => {
      this.socket.send(bytes, error => {
        if (error) this.giveUp(causeOf(error))
        resolve()
      })
    })
  }

  end(): void {}

  reset(): void {
    this.destroy()
  }

  change(ms: number): Promise<void> {
    return this.over === null ? this.bell.wait(ms) : Promise.resolve()
  }

  destroy(): void {
    this.signal.removeEventListener('abort', this.abort)
    if (!this.closed) this.socket.close()
    this.closed = true
  }

  private giveUp(cause: Over): void {
    this.over ??= cause
    this.bell.ring()
    this.destroy()
  }
}

function causeOf({ code = '' }: NodeJS.ErrnoException): Over {
  return CAUSES[code] ?? 'the target cannot be reached'
}

const CAUSES: Readonly<Record<string, Over>> = {
  ECONNREFUSED: 'the target refuses connections',
  EMFILE: 'no more connections are possible here',
  ENFILE: 'no more connections are possible here',
  EADDRNOTAVAIL: 'no more connections are possible here',
  EMSGSIZE: 'a datagram is longer than what can be sent here',
}
