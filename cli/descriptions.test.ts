import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Item } from '../core/item.ts'
import { Pipeline } from '../core/pipeline.ts'
import { loadProtocols } from '../core/registry.ts'
import { readPackets } from '../core/testing/golden.ts'
import { readDescriptions } from './descriptions.ts'

const FIXTURES = new URL('../core/fixtures/grpc/', import.meta.url)
const SHOP = fileURLToPath(new URL('shop.proto', FIXTURES))

describe('descriptions', () => {
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'descriptions-'))
  })
  after(() => rmSync(folder, { recursive: true }))

  it('give the fields of messages their names, in pairs and in streams', async () => {
    const items = await readCalls([SHOP])
    const [first] = items
    assert.deepEqual(first!.request!.message, { sku: 'a' })
    assert.deepEqual(first!.response!.message, {
      sku: 'a',
      balance: -7,
      price: 1.5,
      kind: 'BOOK',
      sizes: [1, 2, 300],
      labels: { colour: 'red' },
      picture: { encoding: 'base64', text: 'AP8B' },
      views: '9223372036854775807',
    })
    const notes = items.filter(({ event }) => event?.rpc === 'Chat' && event.direction === 'response')
    assert.deepEqual(
      notes.map(({ event }) => event!.message),
      [{ text: 'you said one' }, { text: 'you said two' }, { text: 'you said three' }],
    )
  })

  it('come from descriptor sets too', async () => {
    const require = createRequire(import.meta.url)
    require('protobufjs/ext/descriptor')
    const root = new (require('protobufjs').Root)().loadSync(SHOP, { keepCase: true })
    const { FileDescriptorSet } = require('protobufjs/ext/descriptor')
    const file = join(folder, 'shop.protoset')
    writeFileSync(file, FileDescriptorSet.encode(root.toDescriptor('proto3')).finish())
    assert.deepEqual((await readCalls([file]))[0]!.request!.message, { sku: 'a' })
    assert.deepEqual((await readCalls([folder]))[0]!.request!.message, { sku: 'a' })
  })

  it('find imports beside the file and in the folders that were given', () => {
    writeFileSync(join(folder, 'a.proto'), 'syntax = "proto3"; package a; message A { string name = 1; }')
    const text = 'syntax = "proto3"; import "a.proto"; service S { rpc Get(a.A) returns (a.A); }'
    writeFileSync(join(folder, 's.proto'), text)
    const describe = readDescriptions([join(folder, 's.proto')])
    assert.deepEqual(describe('/S/Get', 'request', Uint8Array.of(10, 1, 120)), { name: 'x' })
  })

  it('know nothing of other services, and of bytes that are no such message', () => {
    const describe = readDescriptions([SHOP])
    assert.equal(describe('/other.Shop/GetItem', 'request', Uint8Array.of(10, 1, 120)), null)
    assert.equal(describe('/shop.v1.Shop/constructor', 'request', Uint8Array.of(10, 1, 120)), null)
    assert.equal(describe('/shop.v1.Shop/GetItem', 'request', Uint8Array.of(10, 9, 120)), null)
  })

  it('that cannot be read are named, with the reason', () => {
    assert.throws(() => readDescriptions([join(folder, 'none.proto')]), /none\.proto: there is no such file/)
    const broken = join(folder, 'broken.proto')
    writeFileSync(broken, 'message {')
    assert.throws(() => readDescriptions([broken]), /broken\.proto: /)
    rmSync(broken)
  })
})

async function readCalls(paths: string[]): Promise<Item[]> {
  const items: Item[] = []
  const settings = {
    protocols: await loadProtocols(),
    worker: 'test',
    node: null,
    keepBodies: 1 << 20,
    describe: readDescriptions(paths),
  }
  const pipeline = new Pipeline(settings, ({ bytes, length }) => {
    for (const line of Buffer.from(bytes.buffer, bytes.byteOffset, length).toString().split('\n'))
      if (line !== '') items.push(JSON.parse(line))
  })
  for (const packet of readPackets(new URL('calls.pcap', FIXTURES))) pipeline.packet(packet)
  pipeline.finish()
  return items
}
