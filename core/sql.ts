/**
 * What the protocols of SQL databases have in common: statements (found, shortened, their passwords hidden), values that
 * may be text or not, and messages that are larger than what should wait in memory.
 */
import { isUtf8 } from 'node:buffer'
import { latin1, utf8 } from './cursor.ts'

export const REDACTED = '[REDACTED]'

/**
 * A value: text, and base64 where the bytes are not UTF-8. `size` is the number of bytes on the wire; the text or
 * base64 beside it may be of the first of them only.
 */
export type SqlValue =
  | string
  | number
  | boolean
  | null
  | { text: string; size: number }
  | { base64: string; size: number }
  | { size: number }

/** `bytes[start..end)` of a value of `size` bytes, of which the others were not kept. */
export function textValue(bytes: Uint8Array, start: number, end: number, size: number): SqlValue {
  if (end - start === size) {
    for (let i = start; i < end; i++) if (bytes[i]! >= 0x80) return beyondAscii(bytes, start, end)
    return latin1(bytes, start, end)
  }
  if (end <= start) return { size }
  const whole = start + wholeCharacters(bytes, start, end)
  if (!isUtf8(bytes.subarray(start, whole))) return binaryValue(bytes, start, end, size)
  return { text: utf8(bytes, start, whole), size }
}

export function binaryValue(bytes: Uint8Array, start: number, end: number, size: number): SqlValue {
  if (end <= start && size > 0) return { size }
  return { base64: Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('base64'), size }
}

function beyondAscii(bytes: Uint8Array, start: number, end: number): SqlValue {
  return isUtf8(bytes.subarray(start, end)) ? utf8(bytes, start, end) : binaryValue(bytes, start, end, end - start)
}

/** Length without a character that the end cuts in two. */
function wholeCharacters(bytes: Uint8Array, start: number, end: number): number {
  for (let back = 1; back <= 4 && back <= end - start; back++) {
    const byte = bytes[end - back]!
    if (byte < 0x80) break
    if (byte < 0xc0) continue
    const needs = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
    return needs > back ? end - start - back : end - start
  }
  return end - start
}

// ── statements ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** Words that begin a statement of PostgreSQL, MySQL or MariaDB, or a command of PostgreSQL's replication. */
const VERBS: ReadonlySet<string> = new Set(
  (
    'ABORT ALTER ANALYZE BASE_BACKUP BEGIN BINLOG CACHE CALL CHANGE CHECK CHECKPOINT CHECKSUM CLONE CLOSE CLUSTER COMMENT ' +
    'COMMIT COPY CREATE CREATE_REPLICATION_SLOT DEALLOCATE DECLARE DELETE DESC DESCRIBE DISCARD DO DROP ' +
    'DROP_REPLICATION_SLOT END EXECUTE EXPLAIN FETCH FLUSH GET GRANT HANDLER HELP IDENTIFY_SYSTEM IMPORT INSERT INSTALL ' +
    'KILL LISTEN LOAD LOCK MERGE MOVE NOTIFY OPTIMIZE PREPARE PURGE READ_REPLICATION_SLOT REASSIGN REFRESH REINDEX ' +
    'RELEASE RENAME REPAIR REPLACE RESET RESIGNAL REVOKE ROLLBACK SAVEPOINT SECURITY SELECT SET SHOW SHUTDOWN SIGNAL ' +
    'START START_REPLICATION STOP TABLE TIMELINE_HISTORY TRUNCATE UNINSTALL UNLISTEN UNLOCK UPDATE USE VACUUM VALUES ' +
    'WITH XA'
  ).split(' '),
)
const LONGEST_VERB = 'CREATE_REPLICATION_SLOT'.length
/** Comments before the first word, such as those of query builders. */
const MAX_COMMENT = 2000

/** The first word of a statement in upper case; empty if there is none that SQL knows. */
export function verbOf(query: string): string {
  let at = 0
  for (;;) {
    const char = query[at]
    if (char === ' ' || char === '\n' || char === '\t' || char === '\r' || char === '(' || char === ';') at++
    else if (char === '/' && query[at + 1] === '*') {
      const end = query.indexOf('*/', at + 2)
      if (end < 0 || end - at > MAX_COMMENT) return ''
      // What MySQL alone executes is no comment: /*!40101 SET ... */
      if (query[at + 2] === '!' || query.startsWith('M!', at + 2)) {
        at += 3
        while (at < query.length && /[!\d]/.test(query[at]!)) at++
      } else at = end + 2
    } else if ((char === '-' && query[at + 1] === '-') || char === '#') {
      const end = query.indexOf('\n', at)
      if (end < 0 || end - at > MAX_COMMENT) return ''
      at = end + 1
    } else break
  }
  let end = at
  while (end < query.length && end - at <= LONGEST_VERB && isWordCharacter(query.charCodeAt(end))) end++
  const word = query.slice(at, end).toUpperCase()
  return VERBS.has(word) ? word : ''
}

function isWordCharacter(code: number): boolean {
  return (code >= 65 && code <= 90) || (code >= 97 && code <= 122) || code === 95
}

/** How much of a statement is looked at to tell that it is one. */
const PROBED = 512

/** Certainly a statement: it begins with a word of SQL and has no character that text has not. */
export function looksLikeStatement(bytes: Uint8Array, start: number, end: number): boolean {
  const stop = Math.min(end, start + PROBED)
  for (let i = start; i < stop; i++) {
    const code = bytes[i]!
    if ((code < 32 && code !== 9 && code !== 10 && code !== 13) || code === 127) return false
  }
  return verbOf(latin1(bytes, start, stop)) !== ''
}

/** What stands before a password in a statement. */
const BEFORE_PASSWORD = [
  // ALTER ROLE r PASSWORD 'p', SET PASSWORD = 'p', PASSWORD('p'), MASTER_PASSWORD = 'p'
  'PASSWORD_[=(]?_E?',
  String.raw`PASSWORD_FOR\s[^=;]{1,200}=_(?:PASSWORD_\(_)?`,
  // IDENTIFIED BY 'p', IDENTIFIED WITH plugin AS 'hash', IDENTIFIED VIA plugin USING PASSWORD('p')
  String.raw`IDENTIFIED_(?:(?:WITH|VIA)_\S{1,80}_)?(?:BY|AS|USING)_(?:PASSWORD_\(?_)?`,
  String.raw`REPLACE\s_`,
]
/** For _ above: without a bound a stranger's spaces would be gone over again and again. */
const SPACES = String.raw`\s{0,20}`
const QUOTED = String.raw`'(?:[^'\\]|''|\\[^])*(?:'|$)|"(?:[^"\\]|""|\\[^])*(?:"|$)`
const PASSWORDS = new RegExp(`(${BEFORE_PASSWORD.join('|').replaceAll('_', SPACES)})(${QUOTED})`, 'gi')
const MAY_HAVE_PASSWORD = /password|identified/i

/** The statement without the passwords that it sets. */
export function redactStatement(query: string): string {
  if (!MAY_HAVE_PASSWORD.test(query)) return query
  return query.replace(PASSWORDS, (_, before: string, quoted: string) => {
    const quote = quoted[0]!
    return `${before}${quote}${REDACTED}${quote}`
  })
}

// ── long messages ───────────────────────────────────────────────────────────────────────────────────────────────────

/** A longer message is taken in as it comes. */
export const LONG = 16_384
