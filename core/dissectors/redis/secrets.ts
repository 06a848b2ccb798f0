/** Where commands and answers of Redis carry passwords, and how they are kept out of items. */
import type { Bulk } from './bulk.ts'

export const REDACTED = '[REDACTED]'

/** Settings whose value is a password (CONFIG SET, CONFIG GET). */
const SECRET_SETTINGS = new Set([
  'requirepass',
  'masterauth',
  'primaryauth',
  'sentinel-pass',
  'tls-key-file-pass',
  'tls-client-key-file-pass',
])
/** As above, in SENTINEL SET. */
const SECRET_SENTINEL_SETTINGS = new Set(['auth-pass', 'sentinel-pass'])
/** ACL SETUSER: `>password`, `<password`, `#sha256`, `!sha256`. */
const RULE_WITH_PASSWORD = new Set(['>', '<', '#', '!'])

/** Replaces passwords among the arguments of a command; `name` is in upper case. */
export function redactArguments(name: string, args: Bulk[]): void {
  REDACTIONS[name]?.(args)
}

const REDACTIONS: { [name: string]: ((args: Bulk[]) => void) | undefined } = {
  // AUTH [username] password
  AUTH: args => {
    args.fill(REDACTED, args.length > 1 ? 1 : 0)
  },
  // HELLO protover [AUTH username password] [SETNAME clientname]
  HELLO: args => {
    for (let i = 1; i < args.length; i++) if (word(args[i]) === 'AUTH') hide(args, i + 2)
  },
  // CONFIG SET parameter value [parameter value ...]
  CONFIG: args => {
    if (word(args[0]) !== 'SET') return
    for (let i = 1; i < args.length; i += 2) if (isSecretSetting(args[i])) hide(args, i + 1)
  },
  // ACL SETUSER username [rule ...]; the rules of one argument may stand in parentheses, which hold no passwords
  ACL: args => {
    if (word(args[0]) !== 'SETUSER') return
    for (let i = 2; i < args.length; i++) {
      const rule = args[i]!
      if (typeof rule !== 'string') args[i] = REDACTED
      else if (RULE_WITH_PASSWORD.has(rule.charAt(0))) args[i] = rule.charAt(0) + REDACTED
    }
  },
  // MIGRATE host port key db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password] [KEYS key ...]
  MIGRATE: args => {
    for (let i = 5; i < args.length; i++) {
      const option = word(args[i])
      if (option === 'KEYS') return
      if (option !== 'AUTH' && option !== 'AUTH2') continue
      i += option === 'AUTH' ? 1 : 2
      hide(args, i)
    }
  },
  // SENTINEL SET master option value ..., SENTINEL CONFIG SET option value
  SENTINEL: args => {
    for (let i = 1; i < args.length; i++)
      if (SECRET_SENTINEL_SETTINGS.has(word(args[i]).toLowerCase())) hide(args, i + 1)
  },
}

/** What of an answer is secret: the values of password settings, all of it, or arguments of commands in a log. */
export type SecretAnswer = 'settings' | 'all' | 'log'

/** What to hide in the answer to this command; null: nothing. */
export function secretAnswer(name: string, args: readonly Bulk[]): SecretAnswer | null {
  const subcommand = word(args[0])
  if (name === 'CONFIG' && subcommand === 'GET') return 'settings'
  if (name === 'ACL' && subcommand === 'GENPASS') return 'all'
  if (name === 'SLOWLOG' && subcommand === 'GET') return 'log'
  return null
}

/** The answer's value without what is secret in it. */
// biome-ignore lint/suspicious/noExplicitAny: any JSON.
export function redactAnswer(what: SecretAnswer, value: any): any {
  if (value === null) return null
  switch (what) {
    case 'all':
      return REDACTED
    case 'settings':
      if (!Array.isArray(value)) {
        if (typeof value !== 'object') return value
        return Object.fromEntries(
          Object.entries(value).map(([name, set]) => [name, isSecretSetting(name) ? REDACTED : set]),
        )
      }
      // RESP2: name, value, name, value.
      return value.map((set, i) => (i % 2 === 1 && isSecretSetting(value[i - 1]) ? REDACTED : set))
    case 'log':
      if (!Array.isArray(value)) return value
      // Of each entry: id, time, duration, arguments, ...
      for (const entry of value) {
        const command = Array.isArray(entry) ? entry[3] : null
        if (!Array.isArray(command) || typeof command[0] !== 'string') continue
        const args = command.slice(1)
        redactArguments(command[0].toUpperCase(), args)
        entry[3] = [command[0], ...args]
      }
      return value
  }
}

function isSecretSetting(name: unknown): boolean {
  return typeof name === 'string' && SECRET_SETTINGS.has(name.toLowerCase())
}

function hide(args: Bulk[], index: number): void {
  if (index < args.length) args[index] = REDACTED
}

function word(arg: Bulk | undefined): string {
  return typeof arg === 'string' ? arg.toUpperCase() : ''
}
