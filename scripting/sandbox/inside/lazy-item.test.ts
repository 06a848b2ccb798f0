import assert from 'node:assert/strict'
import { isAscii } from 'node:buffer'
import { types } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Batch } from '../../../core/batch.ts'
import type { Item } from '../../../core/item.ts'
import { JsonWriter } from '../../../core/json-writer.ts'
import { type Column, ColumnCutter, FIELDS } from '../../columns.ts'
import { batchOf, httpItem } from '../../testing/items.ts'
import { type ItemBatch, type ItemReader, lazyItems } from './lazy-item.ts'

const COLUMNS: Record<string, Column[]> = {
  'nothing sent': [],
  'fields sent': [
    { path: ['response'], kind: 'object', large: false },
    { path: ['response', 'status'], kind: 'value', large: false },
    { path: ['request', 'headers', 'Host'], kind: 'value', large: false },
    { path: ['request', 'pathSegments'], kind: 'value', large: false },
    { path: ['elapsedTime'], kind: 'value', large: false },
  ],
  'objects sent': [
    { path: ['response'], kind: 'whole', large: true },
    { path: ['request', 'headers'], kind: 'whole', large: true },
    { path: ['node'], kind: 'whole', large: true },
  ],
  'all sent': [{ path: [], kind: 'whole', large: true }],
  'a body sent where it is small': [{ path: ['response', 'content', 'text'], kind: 'value', large: false }],
}

const ITEMS = [
  httpItem(0),
  { ...httpItem(1), request: null, node: null },
  { ...httpItem(2), response: null, elapsedTime: null },
  httpItem(3, 'grün € 😀 "quoted" \\ \n'.repeat(100)),
  { ...httpItem(4), request: { ...httpItem(4).request, headers: JSON.parse('{"Ünï":"ç","__proto__":"x"}') } },
] as Item[]

/** What plain objects do: each is done to a lazy item and to a parsed one, and must end the same. */
// biome-ignore lint/suspicious/noExplicitAny: scripts know no types.
const USES: Record<string, (data: any) => unknown> = {
  'fields are read': d => [d.id, d.response?.status, d.elapsedTime, d.request?.headers.Host, d.src.ip, d.nothing],
  'it is written as JSON': d => JSON.stringify(d),
  'it is written as JSON after fields were read': d => [d.response?.status, d.request?.headers, JSON.stringify(d)],
  'parts are written as JSON': d => [JSON.stringify(d.request), JSON.stringify(d.response), JSON.stringify(d.src)],
  'keys are listed': d => [Object.keys(d), d.request && Object.keys(d.request), Object.keys(d.protocol)],
  'entries are listed': d => JSON.stringify(Object.entries(d)),
  'it is spread': d => JSON.stringify({ ...d, ...d.response }),
  'for-in runs over it': d => {
    const names = []
    for (const name in d) names.push(name)
    return names
  },
  'keys are tested': d => ['response' in d, 'nothing' in d, 'toString' in d, d.response && 'status' in d.response],
  'own keys are tested': d => [Object.hasOwn(d, 'id'), Object.hasOwn(d, 'nothing'), Object.hasOwn(d, 'toString')],
  'a field is added': d => {
    d.note = 1
    return [d.note, Object.keys(d).at(-1), JSON.stringify(d)]
  },
  'a field is changed': d => {
    d.passed = true
    d.elapsedTime = 7
    if (d.response) d.response.status = 418
    return [d.passed, d.response?.status, JSON.stringify(d)]
  },
  'a part is replaced': d => {
    d.response = { a: 1 }
    return [d.response.a, JSON.stringify(d)]
  },
  'a field is deleted': d => {
    delete d.src
    delete d.nothing
    return [d.src, 'src' in d, JSON.stringify(d)]
  },
  'a header is redacted': d => {
    if (d.request) d.request.headers.Host = '[redacted]'
    return JSON.stringify(d)
  },
  'a field is defined': d => {
    Object.defineProperty(d, 'hidden', { value: 1, enumerable: false })
    return [d.hidden, Object.keys(d), JSON.stringify(d)]
  },
  'it is frozen': d => {
    Object.freeze(d)
    return [Object.isFrozen(d), Reflect.set(d, 'id', 'x'), d.id, JSON.stringify(d)]
  },
  'it is sealed and tested': d => [Object.isExtensible(d), Object.isSealed(Object.seal(d)), Object.isSealed(d)],
  'its descriptor is taken': d => [
    JSON.stringify(Object.getOwnPropertyDescriptor(d, 'id')),
    Object.getOwnPropertyDescriptor(d, 'nothing'),
    JSON.stringify(Object.getOwnPropertyDescriptors(d)),
  ],
  'it is the same object each time': d => {
    const { request, response, src } = d
    return [
      Object.is(response, d.response),
      request === null || Object.is(request.headers, d.request.headers),
      request === null || Object.is(request.pathSegments, d.request.pathSegments),
      Object.values(d).includes(src),
    ]
  },
  'it stays the same object when more is read': d => {
    const { response, src } = d
    JSON.stringify(d)
    Object.keys(d.src)
    return [response === d.response, src === d.src]
  },
  'it is an ordinary object': d => [
    Object.prototype.toString.call(d),
    typeof d,
    d instanceof Object,
    d.constructor === Object,
    Object.getPrototypeOf(d) === Object.prototype,
    Array.isArray(d),
    `${d}`,
    d[Symbol.iterator],
  ],
  'its prototype is changed': d => {
    // biome-ignore lint/suspicious/noProto: scripts may use it.
    d.__proto__ = { inherited: 1 }
    return [d.inherited, 'inherited' in d, Object.keys(d).includes('__proto__')]
  },
  'it is inherited from': d => {
    const child = Object.create(d)
    child.id = 'mine'
    return [child.id, d.id, child.elapsedTime, Object.keys(child)]
  },
  'the body is read': d => [d.response?.content.text, d.response?.content.size],
  'strange names are read': d => [d.request?.headers.Ünï, d.request && Object.keys(d.request.headers)],
  'arrays are used': d => [Array.isArray(d.protocol.ports), d.protocol.ports.map((p: string) => p.length)],
}

const { isProxy } = types

describe('lazy items', () => {
  for (const [sent, columns] of Object.entries(COLUMNS)) {
    describe(sent, () => {
      for (const [use, does] of Object.entries(USES)) {
        it(`are plain objects when ${use}`, () => {
          const { reader, batch } = opened(ITEMS, columns)
          for (const [row, item] of ITEMS.entries()) {
            assert.deepEqual(does(reader.item(batch, row)), does(JSON.parse(JSON.stringify(item))), `item ${row}`)
          }
        })
      }
    })
  }

  it('are let go of by their reader, which fetches nothing for it', async () => {
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    for (const [sent, columns] of Object.entries(COLUMNS)) {
      for (const [use, does] of Object.entries(USES)) {
        const { reader, gone, fetched } = usedUp(columns, does)
        const asked = fetched.length
        reader.letGo()
        // What a WeakRef was made of in this turn of the loop lives to its end.
        await new Promise(resolve => setImmediate(resolve))
        collect()
        assert.equal(gone.deref(), undefined, `${sent}: ${use}`)
        assert.equal(fetched.length, asked, `${sent}: ${use}`)
      }
    }
  })

  it('stay as they are when their reader lets go', () => {
    for (const columns of Object.values(COLUMNS)) {
      const { reader, batch } = opened(ITEMS, columns)
      const kept = ITEMS.map((_, row) => reader.item(batch, row) as Item)
      for (const item of kept) item.response?.status
      reader.letGo()
      assert.deepEqual(
        kept.map(item => JSON.stringify(item)),
        ITEMS.map(item => JSON.stringify(item)),
      )
    }
  })

  it('fetch a field once for all items when the host says so', () => {
    const { reader, batch, fetched } = opened(ITEMS, [])
    for (const row of ITEMS.keys()) (reader.item(batch, row) as Item).elapsedTime
    assert.deepEqual(fetched, ['["elapsedTime"]'])
  })

  it('fetch nothing that was sent', () => {
    const { reader, batch, fetched } = opened(ITEMS, COLUMNS['fields sent']!)
    for (const row of ITEMS.keys()) {
      const item = reader.item(batch, row) as Item
      assert.equal(item.response?.status, ITEMS[row]!.response?.status)
      assert.equal(item.elapsedTime, ITEMS[row]!.elapsedTime)
    }
    assert.deepEqual(fetched, [])
  })

  it('are parsed at once for a script that uses them whole', () => {
    const { reader, source } = opened(ITEMS, COLUMNS['all sent']!)
    const wholes = [1, 2].map(seq => {
      const batch = reader.open(seq, ITEMS.length, '[["whole"]]', ...cut(COLUMNS['all sent']!, source, 0, ITEMS.length))
      return ITEMS.map((_, row) => {
        const item = reader.item(batch, row)
        return [JSON.stringify(item), isProxy(item)]
      })
    })
    assert.deepEqual(
      wholes,
      [true, false].map(lazy => ITEMS.map(item => [JSON.stringify(item), lazy])),
    )
  })

  it('live on what they are handed when the host gives them up', () => {
    const { reader, batch, source, fetched } = opened(ITEMS, COLUMNS['fields sent']!)
    const kept = ITEMS.map((_, row) => reader.item(batch, row) as Item)
    const parts = kept.map(item => item.response)
    batch.lines = {
      text: Buffer.from(source.bytes).toString('latin1'),
      ascii: isAscii(source.bytes),
      starts: [...source.starts],
    }
    assert.deepEqual(
      parts.map(part => JSON.stringify(part)),
      ITEMS.map(item => JSON.stringify(item.response)),
    )
    assert.deepEqual(
      kept.map(item => JSON.stringify(item)),
      ITEMS.map(item => JSON.stringify(item)),
    )
    assert.deepEqual(fetched, [])
  })
})

/** A reader of items that nobody else holds any more. */
// biome-ignore lint/suspicious/noExplicitAny: scripts know no types.
function usedUp(columns: Column[], does: (data: any) => unknown) {
  const { reader, batch, fetched } = opened(ITEMS, columns)
  for (const row of ITEMS.keys()) does(reader.item(batch, row))
  return { reader, fetched, gone: new WeakRef(batch) }
}

function opened(
  items: Item[],
  columns: Column[],
): { reader: ItemReader; batch: ItemBatch; source: Batch; fetched: string[] } {
  const source = batchOf(items)
  const fetched: string[] = []
  const reader = new (lazyItems())((_seq, row, path, whole) => {
    fetched.push(path)
    const column: Column = { path: JSON.parse(path), kind: whole ? 'whole' : 'value', large: true }
    const everyRow = !whole
    const [cells, texts, ascii] = cut([column], source, everyRow ? 0 : row, everyRow ? items.length : row + 1)
    return [everyRow, column.kind, cells, texts, ascii]
  }, FIELDS)
  const names = JSON.stringify(columns.map(({ kind, path }) => [kind, ...path]))
  const batch = reader.open(1, items.length, names, ...cut(columns, source, 0, items.length))
  return { reader, batch, source, fetched }
}

function cut(
  columns: Column[],
  batch: Batch,
  from: number,
  to: number,
): [cells: string, texts: string, ascii: boolean] {
  const cutter = new ColumnCutter(columns)
  const cells = new JsonWriter(16)
  const texts = new JsonWriter(16)
  for (let i = from; i < to; i++) cutter.cut(batch, i, cells, texts)
  const bytes = Buffer.from(texts.bytes.subarray(0, texts.length))
  const text = Buffer.from(cells.bytes.subarray(0, cells.length)).toString().slice(0, -1)
  return [`[${text}]`, bytes.toString('latin1'), isAscii(bytes)]
}
