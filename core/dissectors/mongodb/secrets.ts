/**
 * What must not be in an item: passwords, and what is said to prove that one is known. Field by field, because a reply
 * does not repeat what was asked.
 */
import { latin1 } from '../../cursor.ts'

/** What becomes of a field: 'secret', or the rule for what is within it; null: nothing is secret there. */
export type Secrets = (name: string) => Secrets | 'secret' | null

const AUTHENTICATION: ReadonlySet<string> = new Set(['payload', 'key', 'nonce', 'pwd'])
const SPECULATIVE: Secrets = name => (AUTHENTICATION.has(name) ? 'secret' : null)

/** By command, in lower case: fields of the request. */
const COMMANDS: ReadonlyMap<string, Secrets> = new Map<string, Secrets>([
  ['saslstart', SPECULATIVE],
  ['saslcontinue', SPECULATIVE],
  ['authenticate', SPECULATIVE],
  ['copydb', SPECULATIVE],
  ['copydbsaslstart', SPECULATIVE],
  ['createuser', SPECULATIVE],
  ['updateuser', SPECULATIVE],
])

/** hello, in all its names, may begin to authenticate on the side. */
const ANY: Secrets = name => (name === 'speculativeAuthenticate' ? SPECULATIVE : null)

export function secretsOfCommand(command: string): Secrets {
  return COMMANDS.get(command.toLowerCase()) ?? ANY
}

/** Of a reply: only a conversation to authenticate has a number, and only getnonce answers with a nonce alone. */
export function secretsOfReply(names: readonly string[]): Secrets {
  return names.includes('conversationId') || names[0] === 'nonce' ? SPECULATIVE : ANY
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
