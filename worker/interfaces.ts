/**
 * The network interfaces of a namespace, and news of those that come and go, by rtnetlink(7):
 *
 *   length(4) type(2) flags(2) sequence(4) port(4)                                       nlmsghdr
 *     family(1) 0(1) ARPHRD(2) index(4) flags(4) change(4)                               ifinfomsg
 *       length(2) type(2) value, padded to 4                                             rtattr, many
 */
import { closeSync, openSync } from 'node:fs'
import { Fault } from '../core/fault.ts'
import { errorName, loadNative } from './native.ts'

export interface Interface {
  index: number
  name: string
  /** ARPHRD_ value of <linux/if_arp.h>. */
  hardware: number
  up: boolean
}

/** ARPHRD_ values of those that carry Ethernet frames, and begin with their header. */
export const HARDWARE = { ethernet: 1, loopback: 772 } as const

/** A descriptor of the network namespace at that path. */
export function openNamespace(path: string): number {
  try {
    return openSync(path, 'r')
  } catch (error) {
    throw new Fault('NAMESPACE_MISSING', `the network namespace ${path} cannot be opened: ${(error as Error).message}`)
  }
}

export class Interfaces {
  private readonly native = loadNative<Sockets>()
  private readonly socket: number
  private sequence = 0
  private changed = false

  /** `namespace` is a descriptor of it, -1 for our own. */
  constructor(namespace: number) {
    this.socket = this.must('open', this.native.openSocket(namespace, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE))
    const address = new DataView(new ArrayBuffer(SOCKADDR_BYTES))
    address.setUint16(0, AF_NETLINK, true)
    address.setUint32(8, RTMGRP_LINK, true)
    this.must('bind', this.native.bindSocket(this.socket, new Uint8Array(address.buffer)))
  }

  /** All that there are. */
  list(): Interface[] {
    this.must('send to', this.native.sendSocket(this.socket, request(++this.sequence)))
    const found: Interface[] = []
    for (let answers = 0; answers < MAX_ANSWERS; answers++) {
      const answer = this.native.receiveSocket(this.socket)
      if (typeof answer === 'number') {
        // News were lost because there were too many, and the answer may have been among them.
        if (answer === -ENOBUFS) this.changed = true
        else throw new Fault('INTERFACES_UNKNOWN', `netlink does not list the interfaces: ${errorName(answer)}`)
        continue
      }
      for (const message of messages(answer)) {
        if (message.sequence !== this.sequence) this.changed = true
        else if (message.type === NLMSG_DONE) return found
        else if (message.type === RTM_NEWLINK) found.push(readLink(message.body))
      }
    }
    return found
  }

  /** Whether something has changed since this was asked last; never waits. */
  haveChanged(): boolean {
    for (let count = 0; count < MAX_ANSWERS; count++) {
      const news = this.native.receiveSocket(this.socket)
      if (typeof news === 'number' && news !== -ENOBUFS) break
      this.changed = true
    }
    const { changed } = this
    this.changed = false
    return changed
  }

  close(): void {
    closeSync(this.socket)
  }

  private must(what: string, result: number): number {
    if (result < 0) throw new Fault('INTERFACES_UNKNOWN', `cannot ${what} a socket of netlink: ${errorName(result)}`)
    return result
  }
}

interface Sockets {
  openSocket(namespace: number, domain: number, type: number, protocol: number): number
  bindSocket(descriptor: number, address: Uint8Array): number
  sendSocket(descriptor: number, bytes: Uint8Array): number
  receiveSocket(descriptor: number): Uint8Array | number
}

const AF_NETLINK = 16
const SOCK_RAW = 3
const NETLINK_ROUTE = 0
const SOCKADDR_BYTES = 12
const RTMGRP_LINK = 1
const ENOBUFS = 105
const NLMSG_DONE = 3
const RTM_NEWLINK = 16
const RTM_GETLINK = 18
const NLM_F_REQUEST_DUMP = 0x301
const HEADER_BYTES = 16
const LINK_BYTES = 16
const ATTRIBUTE_BYTES = 4
const IFLA_IFNAME = 3
const IFF_UP = 1
/** Datagrams of one answer: each tells of some ten interfaces, and a kernel gone mad must not hold us for ever. */
const MAX_ANSWERS = 100_000

function request(sequence: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES + LINK_BYTES))
  view.setUint32(0, view.byteLength, true)
  view.setUint16(4, RTM_GETLINK, true)
  view.setUint16(6, NLM_F_REQUEST_DUMP, true)
  view.setUint32(8, sequence, true)
  return new Uint8Array(view.buffer)
}

interface Message {
  type: number
  sequence: number
  body: DataView
}

function* messages(datagram: Uint8Array): Generator<Message> {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength)
  for (let at = 0; at + HEADER_BYTES <= view.byteLength; ) {
    const length = view.getUint32(at, true)
    if (length < HEADER_BYTES || at + length > view.byteLength) return
    const body = new DataView(view.buffer, view.byteOffset + at + HEADER_BYTES, length - HEADER_BYTES)
    yield { type: view.getUint16(at + 4, true), sequence: view.getUint32(at + 8, true), body }
    at += aligned(length)
  }
}

function readLink(body: DataView): Interface {
  const index = body.getInt32(4, true)
  const found = {
    index,
    name: `if${index}`,
    hardware: body.getUint16(2, true),
    up: (body.getUint32(8, true) & IFF_UP) !== 0,
  }
  for (let at = LINK_BYTES; at + ATTRIBUTE_BYTES <= body.byteLength; ) {
    const length = body.getUint16(at, true)
    if (length < ATTRIBUTE_BYTES || at + length > body.byteLength) break
    if (body.getUint16(at + 2, true) === IFLA_IFNAME)
      // Without the zero at its end.
      found.name = new TextDecoder().decode(
        new Uint8Array(body.buffer, body.byteOffset + at + ATTRIBUTE_BYTES, length - ATTRIBUTE_BYTES - 1),
      )
    at += aligned(length)
  }
  return found
}

function aligned(length: number): number {
  return (length + 3) & ~3
}
