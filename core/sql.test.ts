import assert from 'node:assert/strict'
import { describe, it } from 'mocha'
import { looksLikeStatement, redactStatement, textValue, verbOf } from './sql.ts'

describe('sql', () => {
  it('finds the first word of a statement', () => {
    const cases: [string, string][] = [
      ['select 1', 'SELECT'],
      ['  \n-- a comment\n/* another */ (SELECT 1)', 'SELECT'],
      ['/*!40101 SET NAMES utf8mb4 */', 'SET'],
      ['/*M!100100 SET x=1 */', 'SET'],
      ['# shell-like\nUPDATE t', 'UPDATE'],
      ['START_REPLICATION SLOT "a" LOGICAL 0/0', 'START_REPLICATION'],
      ['hello world', ''],
      ['/* never closed', ''],
      ['', ''],
    ]
    for (const [query, verb] of cases) assert.equal(verbOf(query), verb, query)
  })

  it('hides passwords and nothing else', () => {
    const secret = 's3cr3t'
    const quoted = [`'${secret}'`, `"${secret}"`, `'it''s \\' ${secret}'`]
    const before = [
      'ALTER ROLE bob WITH PASSWORD ',
      'alter user bob encrypted password ',
      'CREATE USER MAPPING FOR x SERVER y OPTIONS (user a, password ',
      'SET PASSWORD = ',
      "SET PASSWORD FOR 'bob'@'%' = PASSWORD(",
      'CREATE USER bob IDENTIFIED BY ',
      'CREATE USER bob IDENTIFIED WITH caching_sha2_password BY ',
      'CREATE USER bob IDENTIFIED VIA mysql_native_password USING PASSWORD(',
      'GRANT ALL ON *.* TO bob IDENTIFIED BY PASSWORD ',
      "CHANGE MASTER TO MASTER_HOST='h', MASTER_PASSWORD=",
    ]
    for (const start of before)
      for (const text of quoted) {
        const told = redactStatement(`${start}${text}) AND MORE`)
        assert.ok(!told.includes(secret), told)
        assert.ok(told.startsWith(start) && told.endsWith(') AND MORE'), told)
      }
    // Cut off within the password.
    assert.ok(!redactStatement(`ALTER USER bob IDENTIFIED BY '${secret}`).includes(secret))
    for (const query of [
      "select password, 'x' from t",
      'select password from t where a = 1',
      "select replace('a', 'b', 'c')",
    ])
      assert.equal(redactStatement(query), query)
  })

  it('takes no time over hostile statements', () => {
    for (const query of [
      `password${' '.repeat(100_000)}`,
      `identified with ${'x '.repeat(50_000)}`,
      'password for '.repeat(10_000),
      `password '${'\\'.repeat(100_000)}`,
      `/*${'/*'.repeat(50_000)}`,
    ]) {
      redactStatement(query)
      verbOf(query)
    }
  }).timeout(1000)

  it('knows a statement by its first word, and text by its characters', () => {
    const looks = (text: string) => looksLikeStatement(Buffer.from(text), 0, Buffer.byteLength(text))
    assert.equal(looks('SELECT ü'), true)
    assert.equal(looks('SELECT \x00'), false)
    assert.equal(looks('GET / HTTP/1.1\x01'), false)
    assert.equal(looks('hello'), false)
  })

  it('tells values as text, as base64 where they are none, and how long they are where they are cut', () => {
    const of = (bytes: Buffer, kept = bytes.length) => textValue(bytes, 0, kept, bytes.length)
    assert.equal(of(Buffer.from('grün')), 'grün')
    assert.deepEqual(of(Buffer.from([0xff, 0])), { base64: '/wA=', size: 2 })
    assert.deepEqual(of(Buffer.from('grün'), 3), { text: 'gr', size: 5 })
    assert.deepEqual(of(Buffer.from('grün'), 0), { size: 5 })
  })
})
