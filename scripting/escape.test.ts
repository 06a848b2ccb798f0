/** Known ways out of JavaScript sandboxes. Each is tried for real; none may reach anything or hurt anybody. */
import assert from 'node:assert/strict'
import { httpItem } from './testing/items.ts'
import { SHORT, Stage } from './testing/stage.ts'

const ITEMS = 30

const WITNESS = `// Witness
function onItemCaptured(data) {
  console.log(data.index, {}.polluted === undefined && Object.keys(Object.prototype).length === 0)
}`

/** What an attempt has in hand when it says `got(x)`. Only what a sandbox must not give counts. */
const CLAIM = `
function got(value) {
  var kind = typeof value
  if (value === undefined || value === null || value === globalThis) return
  if (kind === 'object' || kind === 'function') {
    var names = ['env', 'pid', 'binding', 'mainModule', 'exit', 'dlopen', 'readFileSync', 'createContextSync', 'applySync', 'getSync', 'deref']
    for (var i = 0; i < names.length; i++) if (value[names[i]] !== undefined) console.log('ESCAPED by', names[i])
    return
  }
  console.log('ESCAPED with', kind, value)
}
function attempt(what) { try { what() } catch (error) { console.log('held:', String(error && error.message)) } }
`

interface Attempt {
  name: string
  /** Body of a hook that runs for item 10. */
  code: string
  /** It must be held without losing the script; else any end that spares the others will do. */
  survives: boolean
}

const held = (name: string, code: string): Attempt => ({ name, code, survives: true })
const fatal = (name: string, code: string): Attempt => ({ name, code, survives: false })

const ATTEMPTS: Attempt[] = [
  held('constructor chain of this', "attempt(() => got(this.constructor.constructor('return process')()))"),
  held('constructor chain of the item', "attempt(() => got(data.constructor.constructor('return process')()))"),
  held(
    'constructor chain of a fetched value',
    "attempt(() => got(data.request.headers.constructor.constructor('return process')()))",
  ),
  held('constructor chain of console.log', "attempt(() => got(console.log.constructor('return process')()))"),
  held('constructor chain of vendor.webhook', "attempt(() => got(vendor.webhook.constructor('return process')()))"),
  held('constructor chain of setTimeout', "attempt(() => got(setTimeout.constructor('return process')()))"),
  held('constructor chain of env', "attempt(() => got(env.constructor.constructor('return process.env')()))"),
  held(
    'constructor chain of an error that a helper threw',
    "try { vendor.webhook() } catch (error) { attempt(() => got(error.constructor.constructor('return process')())) }",
  ),
  held('Function', "attempt(() => got(Function('return process')()))"),
  held('eval, direct and indirect', "attempt(() => got(eval('process'))); attempt(() => got((0, eval)('process')))"),
  held(
    'GeneratorFunction',
    "attempt(() => got(Object.getPrototypeOf(function* () {}).constructor('return process')().next().value))",
  ),
  held(
    'async generators',
    "attempt(() => Object.getPrototypeOf(async function* () {}).constructor('yield process')().next().then(step => got(step.value), () => 0))",
  ),
  held(
    'arguments.callee.caller',
    'attempt(() => { function up(f) { for (var n = 0; f && n < 20; n++, f = f.caller) got(f.constructor("return typeof process !== \\"undefined\\" && process || null")()) } up(arguments.callee) })',
  ),
  held(
    'names of Node',
    `for (const name of ['process', 'require', 'module', 'exports', 'global', 'Buffer', '__dirname', '__filename', 'fetch', 'WebSocket', 'XMLHttpRequest', 'Worker', 'navigator', 'performance', 'queueMicrotask', 'gc', 'ivm', '$0', '$1', '$6'])
      attempt(() => { if (typeof globalThis[name] !== 'undefined' || eval('typeof ' + name) !== 'undefined') console.log('ESCAPED to', name) })`,
  ),
  held(
    'names left behind on the global object',
    `for (const name of Object.getOwnPropertyNames(globalThis)) if (/ivm|isolat|bridge|reference$|callback|fetch|order/i.test(name)) console.log('ESCAPED to', name)`,
  ),
  held(
    'import()',
    "attempt(() => import('node:fs').then(module => got(module), () => 0)); attempt(() => import('/etc/passwd').then(got, () => 0))",
  ),
  held('import.meta', "attempt(() => got(new Function('return import.meta')()))"),
  held('require through a module wrapper', "attempt(() => got(this.module.constructor._load('fs')))"),
  held('process.binding', "attempt(() => got(process.binding('spawn_sync')))"),
  held(
    'pollution of Object.prototype',
    'Object.prototype.polluted = 1; Object.prototype.env = { A: 1 }; Array.prototype.polluted = 1; Function.prototype.polluted = 1; ({}).__proto__.polluted = 2; vendor.webhook("GET", "http://x", { a: 1 })',
  ),
  held(
    'pollution through the item',
    'data.__proto__.polluted = 1; data.request.headers.__proto__.polluted = 1; data.constructor.prototype.polluted = 1; data["__proto__"] = { polluted: 2 }',
  ),
  held(
    'pollution through arguments to helpers',
    `attempt(() => vendor.webhook('GET', 'http://x', JSON.parse('{"__proto__":{"polluted":1}}'), JSON.parse('{"__proto__":{"polluted":"1"},"constructor":"x"}')))`,
  ),
  held(
    'options of the bridge read from a polluted prototype',
    `for (const name of ['timeout', 'arguments', 'result', 'reference', 'copy', 'release', 'unsafeInherit', 'transferIn', 'externalCopy'])
      Object.defineProperty(Object.prototype, name, { get() { return true }, configurable: true })
    attempt(() => got(vendor.slack('http://x', 'a', 'b', 'c')))
    attempt(() => got(data.dst.namespace))`,
  ),
  held(
    'Error.prepareStackTrace and its call sites',
    `Error.prepareStackTrace = (error, sites) => { for (const site of sites) { attempt(() => got(site.getThis && site.getThis())); attempt(() => { const f = site.getFunction && site.getFunction(); if (f) got(f.constructor('return process')()) }) } return 'x' }
    attempt(() => new Error().stack); attempt(() => vendor.webhook(1)); attempt(() => null.x)`,
  ),
  held(
    'Error.captureStackTrace on a proxy',
    'attempt(() => { const o = new Proxy({}, { defineProperty(t, k, d) { got(d.value && d.value.constructor && 0 || null); return Reflect.defineProperty(t, k, d) } }); Error.captureStackTrace(o); got(null) })',
  ),
  held(
    'the call stack of a stack overflow in a helper',
    "attempt(() => { let once = 0; const deep = () => { try { deep() } catch (e) { if (once++ < 50) try { vendor.webhook('GET', 'http://x') } catch (f) { if (f.constructor !== RangeError && !(f instanceof Error)) got(f.constructor.constructor('return process')()) } throw e } }; deep() })",
  ),
  held(
    'Promise species',
    'class P extends Promise { static get [Symbol.species]() { return function (run) { run(got, got) } } } attempt(() => new P(done => done(null)).then(() => null)); return P.resolve(null)',
  ),
  held(
    'a thenable returned',
    "return { then(done) { got(typeof done === 'function' && done.constructor('return typeof process')() === 'object' || null); done(1) } }",
  ),
  held(
    'Promise.prototype.then replaced',
    "Promise.prototype.then = function (...handlers) { for (const handler of handlers) attempt(() => got(handler.constructor('return process')())) }; return (async () => 1)()",
  ),
  held(
    'Proxy traps on arguments to helpers',
    "const trap = new Proxy({}, { get(t, k, r) { attempt(() => got(r.constructor === undefined ? null : null)); return trap }, ownKeys() { return ['a'] }, getOwnPropertyDescriptor() { return { enumerable: true, configurable: true, value: 1 } } }); attempt(() => vendor.webhook('GET', 'http://x', trap, trap)); attempt(() => console.log(trap))",
  ),
  held(
    'Symbol.toPrimitive on arguments',
    'const odd = { [Symbol.toPrimitive](hint) { throw hint } }; attempt(() => vendor.webhook(odd, odd, odd, odd)); attempt(() => console.log(odd)); attempt(() => setTimeout(got, odd))',
  ),
  held(
    'toJSON on arguments',
    "attempt(() => vendor.webhook('GET', 'http://x', { toJSON() { return { toJSON: 1, __proto__: { polluted: 1 } } } })); attempt(() => vendor.slack({ toJSON() { throw new Error('no') } }))",
  ),
  held(
    'getters on arguments',
    "attempt(() => vendor.webhook('GET', 'http://x', '', { get a() { Object.prototype.polluted = 1; return 'b' } }))",
  ),
  held(
    'a getter on Array.prototype under the bridge',
    "Object.defineProperty(Array.prototype, 0, { get() { return null }, set(value) { if (value && value.apply) got(value) }, configurable: true }); attempt(() => vendor.slack('http://x', 'a', 'b', 'c')); attempt(() => got(data.src.name)); delete Array.prototype[0]",
  ),
  held(
    'built-ins replaced under the runtime',
    "JSON.parse = JSON.stringify = Map.prototype.get = Map.prototype.set = Reflect.get = Function.prototype.call = Function.prototype.apply = Function.prototype.bind = function (...values) { for (const value of [this, ...values]) attempt(() => got(value)); return null }; attempt(() => data.size); attempt(() => vendor.slack('http://x', 'a', 'b', 'c'))",
  ),
  held(
    'the bridge by replaced call and bind',
    "for (const name of ['call', 'apply', 'bind']) { const real = Function.prototype[name]; Function.prototype[name] = function (...values) { got(this); values.forEach(got); return Reflect.apply(real, this, values) } } attempt(() => vendor.slack('http://x', 'a', 'b', 'c')); attempt(() => got(data.dst.namespace))",
  ),
  held(
    'WebAssembly',
    "attempt(() => { if (typeof WebAssembly !== 'undefined') console.log('ESCAPED to WebAssembly'); new WebAssembly.Memory({ initial: 30000 }) })",
  ),
  held(
    'SharedArrayBuffer and Atomics.wait',
    "attempt(() => { if (typeof SharedArrayBuffer !== 'undefined' || typeof Atomics !== 'undefined') console.log('ESCAPED to shared memory'); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0) })",
  ),
  held('shared memory by way of WebAssembly in eval', "attempt(() => got(eval('WebAssembly').Memory))"),
  held(
    'environment of the host',
    "if (Object.keys(env).join() !== 'GREETING,NESTED') console.log('ESCAPED with', Object.keys(env)); attempt(() => { 'use strict'; env.GREETING = 'mine' }); attempt(() => { 'use strict'; env.NESTED.limit = 7 }); if (env.GREETING !== 'hello' || env.NESTED.limit !== 5) console.log('ESCAPED: env changed')",
  ),
  held(
    'FinalizationRegistry and WeakRef',
    'const registry = new FinalizationRegistry(got); for (let i = 0; i < 1000; i++) registry.register({}, i - i || null)',
  ),
  held('throwing null', 'throw null'),
  held(
    'throwing what throws when it is shown',
    'throw { get message() { throw this }, get stack() { throw this }, get name() { throw this }, toString() { throw this }, toJSON() { throw this } }',
  ),
  held(
    'throwing a proxy',
    'throw new Proxy(function () {}, { get() { throw 1 }, getPrototypeOf() { throw 2 }, apply() { throw 3 } })',
  ),
  held(
    'throwing an error with a huge stack and message',
    "const error = new Error('m'.repeat(5e6)); error.stack = 's'.repeat(5e6); throw error",
  ),
  held(
    'an error with a stack of its own making',
    "const error = new Error('x'); error.stack = { indexOf() { return 0 }, slice() { got(this); return '1:1' } }; throw error",
  ),
  held('exhausting the stack', '(function down() { down() })()'),
  held('exhausting the stack in a getter of the returned value', 'return { get passed() { return this.passed } }'),
  fatal('console.log of a gigabyte', "var text = 'x'.repeat(5e8); console.log(text + text); console.log(text)"),
  fatal('console.log without end', 'for (;;) console.log("again")'),
  fatal('gradual heap exhaustion', "for (var all = []; ; ) all.push({ text: 'x' + all.length })"),
  fatal('heap exhaustion in arrays', 'for (var all = []; ; ) all.push(new Array(1000).fill({}))'),
  fatal('heap exhaustion by one array', 'new Array(1e9).fill(0)'),
  fatal('repeat and split', '"x".repeat(5e8).split("")'),
  fatal('a huge replace', '"x".repeat(1e8).replace(/x/g, "yy")'),
  fatal('joining a sparse array', 'var a = []; a.length = 4e9; a.join("long")'),
  fatal('memory beside the heap', 'for (var all = []; ; ) all.push(new Uint8Array(1e7).fill(1))'),
  fatal(
    'memory of one buffer',
    'new ArrayBuffer(8e9); for (var b = [], i = 0; i < 100; i++) b.push(new ArrayBuffer(2e9))',
  ),
  fatal('memory of Maps', 'for (var m = new Map(), i = 0; ; i++) m.set(i, { i })'),
  fatal('squaring a BigInt', 'for (var n = 3n ** 1000000n; ; ) n = n * n'),
  fatal('regular expression backtracking', "/^(a+)+$/.test('a'.repeat(60) + 'b')"),
  fatal('backtracking in replace and split', "'a'.repeat(60).concat('b').split(/(a|a)+$/)"),
  fatal('an infinite loop', 'for (;;);'),
  fatal('an infinite loop under try and finally', 'for (;;) try { for (;;); } catch (e) { } finally { for (;;); }'),
  fatal('an infinite loop of microtasks', '(function again() { Promise.resolve().then(again) })()'),
  fatal('an infinite async loop', '(async () => { for (;;) await null })()'),
  fatal('an infinite loop in a getter of an argument', "vendor.webhook('GET', 'http://x', { get a() { for (;;); } })"),
  fatal('an infinite loop in the stack of what is thrown', 'throw { get stack() { for (;;); } }'),
  fatal('an infinite loop in the returned value', 'return { get passed() { for (;;); } }'),
  fatal('an infinite generator spread', '[...(function* () { for (;;) yield 1 })()]'),
  fatal('sorting with a comparison that never ends', '[3, 1, 2].sort(() => { for (;;); })'),
  fatal('timers without end', 'for (;;) setTimeout(() => { for (;;); }, 0)'),
  fatal('a timer that spins', 'setTimeout(() => { for (;;); }, 0)'),
]

describe('escape attempts', () => {
  for (const { name, code, survives } of ATTEMPTS) {
    it(`${name}: contained`, async () => {
      const attacker = `// Attacker\n${CLAIM}\nfunction onItemCaptured(data) {\n  if (data.index !== 10) return\n  ${code}\n}`
      const stage = await Stage.open({ 'attacker.js': attacker, 'witness.js': WITNESS }, SHORT)
      await stage.hand(Array.from({ length: ITEMS }, (_, i) => httpItem(i)))
      const summary = await stage.end()

      const claims = stage.lines.filter(line => line.script === 'Attacker' && /ESCAPED/.test(line.text))
      assert.deepEqual(claims, [])
      const seen = new Set(stage.printed('Witness'))
      for (let i = 0; i < ITEMS; i++) assert.ok(seen.has(`${i} true`), `the witness did not see item ${i} unharmed`)
      assert.equal(summary.Witness!.itemsSeen, ITEMS)
      assert.equal(summary.Witness!.setApart, null)
      assert.ok(
        stage.errors.every(error => error.title === 'Attacker'),
        stage.errors.map(error => error.message).join(),
      )
      if (survives) assert.equal(summary.Attacker!.setApart, null)
      // The host itself: nothing reached its prototypes.
      assert.deepEqual(Object.keys(Object.prototype), [])
      assert.equal(({} as { polluted?: unknown }).polluted, undefined)
      assert.ok(stage.orders.every(order => Object.getPrototypeOf(order) === Object.prototype))
    })
  }

  it('dynamic import in TypeScript: contained', async () => {
    const code =
      "// Attacker\nfunction onItemCaptured(data: object): void {\n  import('node:fs').then(fs => console.log('ESCAPED', typeof fs), () => 0)\n}"
    const stage = await Stage.open({ 'attacker.ts': code, 'witness.js': WITNESS })
    await stage.hand([httpItem(0)])
    await stage.end()
    assert.deepEqual(stage.printed('Attacker'), [])
    assert.deepEqual(stage.printed('Witness'), ['0 true'])
  })

  for (const [name, code] of [
    ['an infinite loop', 'for (;;);'],
    ['repeat and split', '"x".repeat(5e8).split("")'],
    ['heap exhaustion', "for (var all = []; ; ) all.push({ text: 'x' + all.length })"],
  ]) {
    it(`${name} while a script is loaded: contained`, async () => {
      const stage = await Stage.open({ 'attacker.js': `// Attacker\n${code}`, 'witness.js': WITNESS })
      await stage.hand(Array.from({ length: ITEMS }, (_, i) => httpItem(i)))
      const summary = await stage.end()
      assert.equal(new Set(stage.printed('Witness')).size, ITEMS)
      assert.notEqual(summary.Attacker!.setApart, null)
      assert.equal(stage.errors[0]!.hook, 'load')
    })
  }
})
