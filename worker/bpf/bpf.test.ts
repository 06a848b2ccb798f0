import assert from 'node:assert/strict'
import { ifOlderThan } from './bpf.ts'

describe('what is said of the age of a kernel', () => {
  it('is nothing where it is young enough', () => {
    for (const release of ['5.8.0', '5.10.1-8-amd64', '6.1.0', '10.0']) assert.equal(ifOlderThan(5, 8, release), '')
  })

  it('is what it is and what it ought to be', () => {
    assert.equal(ifOlderThan(5, 8, '4.18.0-553.el8'), ' (this is Linux 4.18.0-553.el8, it needs 5.8)')
    assert.equal(ifOlderThan(5, 18, '5.15.0-91-generic'), ' (this is Linux 5.15.0-91-generic, it needs 5.18)')
  })
})
