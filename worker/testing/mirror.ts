/** A server on loopback that answers as the servers of a capture did: stream after stream, piece after piece. */
import { createSocket, type RemoteInfo } from 'node:dgram'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { Pipeline } from '../../core/pipeline.ts'
import type { Protocols } from '../../core/registry.ts'
import { type Tape, Tapes } from '../replay/tape.ts'
import { openCapture } from '../sources/file.ts'

export interface Mirror {
  port: number
  /** What clients sent on each connection so far. */
  heard: Buffer[]
  close(): Promise<void>
}

/** By the names of streams. */
export async function readTapes(path: string, protocols: Protocols): Promise<Map<string, Tape>> {
  const found = new Map<string, Tape>()
  const settings = {
    worker: 'mirror',
    wants: () => true,
    protocols: [],
    most: 1 << 30,
    keeps: () => true,
    exchanged: () => {},
  }
  const tapes = new Tapes({ ...settings, opened: tape => found.set(tape.name, tape) })
  const pipeline = new Pipeline({ protocols, worker: 'mirror', node: null, keepBodies: 0, witness: tapes }, () => {})
  const capture = await openCapture(path)
  while (await capture.load())
    for (let packet = capture.next(); packet !== null; packet = capture.next()) pipeline.packet(packet)
  pipeline.finish()
  return found
}

/** The connections come in the order of `tapes`. */
export async function mirrorTcp(tapes: readonly Tape[]): Promise<Mirror> {
  const heard: Buffer[] = []
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, socket => {
    const tape = tapes[heard.length]
    const number = heard.push(Buffer.alloc(0)) - 1
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    const pieces = [...(tape?.server.pieces ?? [])]
    let ended = false
    const go = () => {
      const length = heard[number]!.length
      while (pieces.length > 0 && (pieces[0]!.heard <= length || ended)) socket.write(pieces.shift()!.bytes)
      const closed = tape?.server.closed ?? null
      if (pieces.length === 0 && (ended || (closed !== null && closed.heard <= length))) socket.end()
    }
    socket.on('data', bytes => {
      heard[number] = Buffer.concat([heard[number]!, bytes])
      go()
    })
    socket.on('end', () => {
      ended = true
      go()
    })
    go()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    heard,
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

/** The flows come in the order of `tapes`, each from a port of its own. */
export async function mirrorUdp(tapes: readonly Tape[]): Promise<Mirror> {
  const heard: Buffer[] = []
  const flows = new Map<string, { number: number; count: number; sent: number }>()
  const socket = createSocket('udp4')
  socket.on('message', (bytes: Buffer, from: RemoteInfo) => {
    const key = `${from.address}:${from.port}`
    const known = flows.get(key)
    // The system gives the port of a flow that is over to another one.
    const isOver = known === undefined || known.count >= (tapes[known.number]?.client.pieces.length ?? 0)
    const flow = isOver ? { number: heard.push(Buffer.alloc(0)) - 1, count: 0, sent: 0 } : known
    flows.set(key, flow)
    heard[flow.number] = Buffer.concat([heard[flow.number]!, bytes])
    flow.count++
    const pieces = tapes[flow.number]?.server.pieces ?? []
    for (; flow.sent < pieces.length && pieces[flow.sent]!.heard <= flow.count; flow.sent++)
      socket.send(pieces[flow.sent]!.bytes, from.port, from.address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return {
    port: socket.address().port,
    heard,
    async close() {
      socket.close()
      await once(socket, 'close')
    },
  }
}
