import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Fault } from '../core/fault.ts'
import { loadScripts, readScript } from './script.ts'

const fault = (code: string, says: RegExp) => (error: unknown) => {
  assert.ok(error instanceof Fault, String(error))
  assert.equal(error.code, code)
  assert.match(error.message, says)
  return true
}

describe('a script', () => {
  const titles: [source: string, title: string][] = [
    ['// Slow routes\nvar a', 'Slow routes'],
    ['var a = "http://not.a/title"\n// The title', 'The title'],
    ['/* Block title */ var a', 'Block title'],
    ['/**\n * Starred title\n * and more\n */', 'Starred title'],
    ['//\n// not this one', 'a.js'],
    ['var a', 'a.js'],
    ["var s = '// no', t = `/* no */`\n//Yes", 'Yes'],
  ]
  for (const [source, title] of titles) {
    it(`is titled ${title} when it begins ${JSON.stringify(source.slice(0, 20))}`, () => {
      assert.equal(readScript('/scripts/a.js', source).title, title)
    })
  }

  it('keeps its lines and columns when types and exports go', () => {
    const source =
      '// T\nexport const add = (a: number, b: number): number => a + b\ninterface X { y: 1 }\nexport function onItemCaptured(data: X): void {}\nboom()'
    const { code } = readScript('a.ts', source)
    assert.deepEqual(
      code.split('\n').map(line => line.length),
      source.split('\n').map(line => line.length),
    )
    assert.equal(code.indexOf('boom()'), source.indexOf('boom()'))
    assert.doesNotMatch(code, /export|number|interface/)
  })

  it('with a syntax error is refused by file, line and column', () => {
    assert.throws(
      () => readScript('x/a.js', '// T\nvar ok = 1\nvar a = = 2'),
      fault('SCRIPT_SYNTAX', /^x\/a\.js:3:9: Unexpected token '='$/),
    )
    assert.throws(() => readScript('x/a.ts', '// T\nenum A { B }'), fault('SCRIPT_SYNTAX', /^x\/a\.ts:2:1: .*enum/))
    assert.throws(
      () => readScript('x/a.ts', '// T\n\nclass A {\n  constructor(private a: number) {}\n}'),
      fault('SCRIPT_SYNTAX', /^x\/a\.ts:4:23: .*parameter property/),
    )
    assert.throws(
      () => readScript('a.js', "import fs from 'node:fs'"),
      fault('SCRIPT_SYNTAX', /^a\.js:1:1: a script stands alone/),
    )
  })

  it('with a hook that does not exist is refused, with the one that was meant', () => {
    assert.throws(
      () => readScript('a.js', '\nfunction onItemCapture(d) {}'),
      fault('SCRIPT_UNKNOWN_HOOK', /^a\.js:2: there is no hook onItemCapture; did you mean onItemCaptured\?$/),
    )
    assert.throws(
      () => readScript('a.js', 'const onPackets = () => 1'),
      fault('SCRIPT_UNKNOWN_HOOK', /did you mean onPacket\?/),
    )
    assert.throws(
      () => readScript('a.js', 'async function onZzz() {}'),
      fault('SCRIPT_UNKNOWN_HOOK', /expected one of onItemCaptured, /),
    )
  })

  it('may use such names where they are no hooks', () => {
    readScript(
      'a.js',
      '/*\nfunction onNothing() {}\n*/\nvar x = `\nfunction onNothing() {}\n`\nvar once = 1\nfunction f() {\n  function onInner() {}\n}',
    )
  })

  it('says that nothing of it will be called', () => {
    for (const source of [
      '',
      '// onItemCaptured\nlet a = "onPacket"',
      'setTimeout(() => {}, 1)',
      '// function onPacket() {}',
    ])
      assert.equal(readScript('a.js', source).idle, true, source)
    for (const source of [
      'function onItemCaptured() {}',
      'globalThis.onPacket = () => 1',
      'function onPodEvent() {}',
      'dissector({ name: "x" })',
    ])
      assert.equal(readScript('a.js', source).idle, false, source)
  })

  it('says which of its hooks are not served yet', () => {
    const { unserved } = readScript(
      'a.js',
      'function onItemQueried() {}\nfunction onItemCaptured() {}\nfunction onPodEvent() {}',
    )
    assert.deepEqual(unserved, ['onItemQueried', 'onPodEvent'])
  })
})

describe('scripts are loaded', () => {
  let folder = ''
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'scripts-'))
  })
  afterEach(() => rm(folder, { recursive: true }))

  it('from files and from folders, not from their subfolders', async () => {
    await mkdir(join(folder, 'deeper'))
    for (const name of ['b.js', 'a.ts', 'script.d.ts', 'notes.md', 'deeper/c.js'])
      await writeFile(join(folder, name), `// ${name}\n`)
    assert.deepEqual(
      (await loadScripts([folder])).map(script => script.title),
      ['a.ts', 'b.js'],
    )
    assert.deepEqual(
      (await loadScripts([join(folder, 'deeper/c.js')])).map(script => script.title),
      ['deeper/c.js'],
    )
  })

  it('by titles that tell them apart', async () => {
    await mkdir(join(folder, 'a'))
    await mkdir(join(folder, 'b'))
    const texts: [name: string, text: string][] = [
      ['slow.js', '// Slow.'],
      ['slow.ts', '// Slow.'],
      ['other.js', '// Other.'],
      ['a/x.js', ''],
      ['b/x.js', ''],
      ['y.js', '// Y.'],
      ['a/y.js', '// Y.'],
    ]
    for (const [name, text] of texts) await writeFile(join(folder, name), text)
    const scripts = await loadScripts(texts.map(([name]) => join(folder, name)))
    assert.deepEqual(
      scripts.map(({ title }) => title),
      [
        'slow.js: Slow.',
        'slow.ts: Slow.',
        'Other.',
        join(folder, 'a/x.js'),
        join(folder, 'b/x.js'),
        `${join(folder, 'y.js')}: Y.`,
        `${join(folder, 'a/y.js')}: Y.`,
      ],
    )
  })

  it('or refused where one is given twice', async () => {
    await writeFile(join(folder, 'a.js'), '')
    const twice = fault('SCRIPT_TWICE', /^expected each script once, found .*a\.js twice$/)
    await assert.rejects(loadScripts([join(folder, 'a.js'), `${folder}/./a.js`]), twice)
    await assert.rejects(loadScripts([folder, join(folder, 'a.js')]), twice)
  })

  it('or refused by name', async () => {
    await writeFile(join(folder, 'notes.md'), '')
    await assert.rejects(
      loadScripts([join(folder, 'none.js')]),
      fault('SCRIPT_NOT_FOUND', /found nothing at .*none\.js$/),
    )
    await assert.rejects(loadScripts([folder]), fault('SCRIPT_NOT_FOUND', /expected \.js or \.ts files/))
    await assert.rejects(loadScripts([join(folder, 'notes.md')]), fault('SCRIPT_NOT_A_SCRIPT', /ends in \.js or \.ts/))
  })
  it('or refused by name where they cannot be read', async () => {
    const locked = join(folder, 'locked.js')
    await writeFile(locked, '')
    await chmod(locked, 0)
    await chmod(folder, 0o755)
    const asRoot = process.geteuid?.() === 0
    if (asRoot) process.seteuid?.(NOBODY)
    try {
      await assert.rejects(
        loadScripts([locked]),
        fault('SCRIPT_UNREADABLE', /^expected a readable script .* at .*locked\.js, found no permission to read$/),
      )
    } finally {
      if (asRoot) process.seteuid?.(0)
    }
    const broken = join(folder, 'broken.js')
    await symlink('/proc/self/mem', broken)
    await assert.rejects(loadScripts([broken]), fault('SCRIPT_UNREADABLE', /broken\.js, found EIO/))
  })
})

const NOBODY = 65534
