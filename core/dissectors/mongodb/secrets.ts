/**
 * What must not be in an item: passwords, and what is said to prove that one is known. Field by field, because a reply
 * does not repeat what was asked.
 */
import { latin1 } from '../../cursor.ts'
import { Names } from './names.ts'

/** `authentication`: this document proves a password. `aside`: it may have such a document within. */
export type Secrets = 'authentication' | 'aside'

const NAMES = new Names(['payload', 'key', 'nonce', 'pwd', 'speculativeAuthenticate'])

/** What becomes of a field: 'secret', or the rule for what is within it; null: nothing is secret there. */
export function judge(secrets: Secrets, bytes: Uint8Array, start: number, end: number): Secrets | 'secret' | null {
  const name = NAMES.find(bytes, start, end)
  if (name === null) return null
  if (name === 'speculativeAuthenticate') return 'authentication'
  return secrets === 'authentication' ? 'secret' : null
}

/** In lower case, as old shells wrote them. */
const AUTHENTICATING: ReadonlySet<string> = new Set([
  'authenticate',
  'copydb',
  'copydbsaslstart',
  'createuser',
  'saslcontinue',
  'saslstart',
  'updateuser',
])

/** hello, in all its names, may begin to authenticate on the side. */
export function secretsOfCommand(command: string): Secrets {
  return AUTHENTICATING.has(command.toLowerCase()) ? 'authentication' : 'aside'
}

const KINDS = ['SCRAM-SHA-', 'MONGODB-CR']
const TYPE_AND_LENGTH = 5

/** Whether the document at `start` is what a server stores of a password: `{ "SCRAM-SHA-256": { iterationCount … } }`. */
export function isCredentials(bytes: Uint8Array, start: number): boolean {
  const name = start + TYPE_AND_LENGTH
  // S or M: nearly all documents are done here.
  if (bytes[name] !== 83 && bytes[name] !== 77) return false
  return KINDS.includes(latin1(bytes, name, Math.min(name + 10, bytes.length)))
}
