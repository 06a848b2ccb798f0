/**
 * The commands of Redis 8 and its modules: where the key and the value are and what is unusual about the answer.
 * Facts from https://redis.io/docs/latest/commands/. Positions count arguments from 1; 0 is the command itself.
 */

export interface Command {
  name: string
  /** Position of the first key (of the channel, for pub/sub); 0: none. */
  key: number
  /** Position of the number of keys, after which the keys follow; 0: none. */
  keyCount: number
  /** The word before the keys, where they are not at `key`; null: none. */
  keyAfter: string | null
  /** Position of the value, null: whatever follows the key. */
  value: number | null
  /** All arguments are keys: there is no value. */
  keysOnly: boolean
  /** The first argument is a subcommand. */
  container: boolean
  /** The server may keep the client waiting on purpose. */
  blocking: boolean
  role: Role
}

/**
 * confirmed: answered by one confirmation a channel; idle: allowed while subscribed; the others switch something for
 * the messages that follow or need another look at their arguments.
 */
export type Role =
  | 'plain'
  | 'confirmed'
  | 'idle'
  | 'reset'
  | 'monitor'
  | 'hello'
  | 'multi'
  | 'exec'
  | 'discard'
  | 'client'
  | 'replconf'
  | 'psync'
  | 'sync'

interface Group extends Partial<Omit<Command, 'name'>> {
  names: string
}

const GROUPS: readonly Group[] = [
  {
    names: `ASKING AUTH BGREWRITEAOF BGSAVE DBSIZE ECHO FAILOVER FLUSHALL FLUSHDB INFO KEYS LASTSAVE LOLWUT PFSELFTEST
      RANDOMKEY READONLY READWRITE REPLICAOF ROLE SAVE SCAN SELECT SHUTDOWN SLAVEOF SWAPDB TIME UNWATCH`,
  },
  {
    names: `ACL CLUSTER COMMAND CONFIG DEBUG FUNCTION LATENCY MODULE PUBSUB SCRIPT SENTINEL SLOWLOG HOTKEYS`,
    container: true,
  },
  { names: 'MEMORY OBJECT XGROUP XINFO', container: true, key: 2 },
  {
    names: `APPEND BITCOUNT BITFIELD BITFIELD_RO BITPOS COPY DECR DECRBY DUMP EXPIRE EXPIREAT EXPIRETIME GEOADD GEODIST
      GEOHASH GEOPOS GEORADIUS GEORADIUS_RO GEORADIUSBYMEMBER GEORADIUSBYMEMBER_RO GEOSEARCH GEOSEARCHSTORE GET GETBIT
      GETDEL GETEX GETRANGE HDEL HEXISTS HEXPIRE HEXPIREAT HEXPIRETIME HGET HGETALL HGETDEL HGETEX HINCRBY HINCRBYFLOAT
      HKEYS HLEN HMGET HMSET HPERSIST HPEXPIRE HPEXPIREAT HPEXPIRETIME HPTTL HRANDFIELD HSCAN HSET HSETEX HSTRLEN HTTL
      HVALS INCR INCRBY INCRBYFLOAT LCS LINDEX LINSERT LLEN LMOVE LPOP LPOS LPUSH LPUSHX LRANGE LREM LTRIM MOVE MSET
      MSETNX PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PFADD PTTL RENAME RENAMENX RPOP RPOPLPUSH RPUSH RPUSHX SADD SCARD
      SISMEMBER SMEMBERS SMISMEMBER SMOVE SORT SORT_RO SPOP SRANDMEMBER SREM SSCAN STRLEN SUBSTR TTL TYPE XACK XACKDEL
      XADD XAUTOCLAIM XCLAIM XDEL XDELEX XLEN XPENDING XRANGE XREVRANGE XSETID XTRIM ZADD ZCARD ZCOUNT ZDIFFSTORE
      ZINCRBY ZINTERSTORE ZLEXCOUNT ZMSCORE ZPOPMAX ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANGESTORE
      ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK
      ZSCAN ZSCORE ZUNIONSTORE PUBLISH SPUBLISH VADD VCARD VDIM VEMB VGETATTR VINFO VISMEMBER VLINKS VRANDMEMBER VREM
      VSETATTR VSIM DELEX DIGEST`,
    key: 1,
  },
  { names: 'SET GETSET SETNX', key: 1, value: 2 },
  { names: 'SETEX PSETEX SETRANGE SETBIT LSET HSETNX RESTORE RESTORE-ASKING', key: 1, value: 3 },
  {
    names: 'DEL EXISTS MGET PFCOUNT PFMERGE SDIFF SDIFFSTORE SINTER SINTERSTORE SUNION SUNIONSTORE TOUCH UNLINK WATCH',
    key: 1,
    keysOnly: true,
  },
  { names: 'BITOP PFDEBUG', key: 2 },
  { names: 'BLPOP BRPOP BZPOPMAX BZPOPMIN BLMOVE BRPOPLPUSH', key: 1, blocking: true },
  { names: 'BLMPOP BZMPOP', keyCount: 2, blocking: true },
  { names: 'XREAD XREADGROUP', keyAfter: 'STREAMS', blocking: true },
  { names: 'WAIT WAITAOF', blocking: true },
  { names: 'EVAL EVAL_RO EVALSHA EVALSHA_RO FCALL FCALL_RO', keyCount: 2 },
  { names: 'LMPOP SINTERCARD ZDIFF ZINTER ZINTERCARD ZMPOP ZUNION MSETEX', keyCount: 1 },
  { names: 'MIGRATE', key: 3, keyAfter: 'KEYS' },

  {
    names: 'SUBSCRIBE PSUBSCRIBE SSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE SUNSUBSCRIBE',
    key: 1,
    keysOnly: true,
    role: 'confirmed',
  },
  { names: 'PING QUIT', role: 'idle' },
  { names: 'RESET', role: 'reset' },
  { names: 'MONITOR', role: 'monitor' },
  { names: 'HELLO', role: 'hello' },
  { names: 'MULTI', role: 'multi' },
  { names: 'EXEC', role: 'exec' },
  { names: 'DISCARD', role: 'discard' },
  { names: 'CLIENT', container: true, role: 'client' },
  { names: 'REPLCONF', container: true, role: 'replconf' },
  { names: 'PSYNC', role: 'psync' },
  { names: 'SYNC', role: 'sync' },

  {
    names: `JSON.ARRAPPEND JSON.ARRINDEX JSON.ARRINSERT JSON.ARRLEN JSON.ARRPOP JSON.ARRTRIM JSON.CLEAR JSON.DEL
      JSON.FORGET JSON.GET JSON.MERGE JSON.MGET JSON.MSET JSON.NUMINCRBY JSON.NUMMULTBY JSON.OBJKEYS JSON.OBJLEN
      JSON.RESP JSON.STRAPPEND JSON.STRLEN JSON.TOGGLE JSON.TYPE TS.ADD TS.ALTER TS.CREATE TS.CREATERULE TS.DECRBY
      TS.DEL TS.DELETERULE TS.GET TS.INCRBY TS.INFO TS.MADD TS.RANGE TS.REVRANGE BF.ADD BF.CARD BF.EXISTS BF.INFO
      BF.INSERT BF.LOADCHUNK BF.MADD BF.MEXISTS BF.RESERVE BF.SCANDUMP CF.ADD CF.ADDNX CF.COUNT CF.DEL CF.EXISTS
      CF.INFO CF.INSERT CF.INSERTNX CF.LOADCHUNK CF.MEXISTS CF.RESERVE CF.SCANDUMP CMS.INCRBY CMS.INFO CMS.INITBYDIM
      CMS.INITBYPROB CMS.MERGE CMS.QUERY TOPK.ADD TOPK.COUNT TOPK.INCRBY TOPK.INFO TOPK.LIST TOPK.QUERY TOPK.RESERVE
      TDIGEST.ADD TDIGEST.BYRANK TDIGEST.BYREVRANK TDIGEST.CDF TDIGEST.CREATE TDIGEST.INFO TDIGEST.MAX TDIGEST.MERGE
      TDIGEST.MIN TDIGEST.QUANTILE TDIGEST.RANK TDIGEST.RESET TDIGEST.REVRANK TDIGEST.TRIMMED_MEAN FT.SUGADD FT.SUGDEL
      FT.SUGGET FT.SUGLEN`,
    key: 1,
  },
  { names: 'JSON.SET', key: 1, value: 3 },
  { names: 'JSON.DEBUG', container: true, key: 2 },
  {
    names: `FT._LIST FT.AGGREGATE FT.ALIASADD FT.ALIASDEL FT.ALIASUPDATE FT.ALTER FT.CONFIG FT.CREATE FT.CURSOR
      FT.DICTADD FT.DICTDEL FT.DICTDUMP FT.DROPINDEX FT.EXPLAIN FT.EXPLAINCLI FT.HYBRID FT.INFO FT.PROFILE FT.SEARCH
      FT.SPELLCHECK FT.SYNDUMP FT.SYNUPDATE FT.TAGVALS TS.MGET TS.MRANGE TS.MREVRANGE TS.QUERYINDEX`,
  },
]

/** For a command that the table does not know. */
export const UNLISTED: Command = command('', {})

export const COMMANDS: ReadonlyMap<string, Command> = new Map(
  GROUPS.flatMap(group => group.names.split(/\s+/).map(name => [name, command(name, group)] as const)),
)

function command(name: string, group: Omit<Group, 'names'>): Command {
  return {
    name,
    key: group.key ?? 0,
    keyCount: group.keyCount ?? 0,
    keyAfter: group.keyAfter ?? null,
    value: group.value ?? null,
    keysOnly: group.keysOnly ?? false,
    container: group.container ?? false,
    blocking: group.blocking ?? false,
    role: group.role ?? 'plain',
  }
}

/** What a command's name is made of, letters folded to upper case; 0: anything else. */
const FOLDED = new Uint8Array(256)
for (const char of 'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-|') {
  FOLDED[char.charCodeAt(0)] = char.charCodeAt(0)
  FOLDED[char.toLowerCase().charCodeAt(0)] = char.charCodeAt(0)
}

/** Names longer than this are nobody's. */
export const MAX_NAME = 64

const SLOTS = 4096
const BY_HASH: (Command | undefined)[] = new Array(SLOTS).fill(undefined)
for (const entry of COMMANDS.values()) {
  const bytes = Buffer.from(entry.name, 'latin1')
  let slot = hash(bytes, 0, bytes.length)
  while (BY_HASH[slot] !== undefined) slot = (slot + 1) % SLOTS
  BY_HASH[slot] = entry
}

/** The command named by `bytes[start..end)` in any case; no string is made for one that the table knows. */
export function findCommand(bytes: Uint8Array, start: number, end: number): Command | undefined {
  for (let slot = hash(bytes, start, end); ; slot = (slot + 1) % SLOTS) {
    const entry = BY_HASH[slot]
    if (entry === undefined || isNamed(entry.name, bytes, start, end)) return entry
  }
}

/** Whether `bytes[start..end)` could be a command's name: a letter, then letters, digits and `. _ - |`. */
export function looksLikeName(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start > MAX_NAME || start >= end || FOLDED[bytes[start]!]! < 65) return false
  for (let i = start; i < end; i++) if (FOLDED[bytes[i]!] === 0) return false
  return true
}

function isNamed(name: string, bytes: Uint8Array, start: number, end: number): boolean {
  if (name.length !== end - start) return false
  for (let i = 0; i < name.length; i++) if (FOLDED[bytes[start + i]!] !== name.charCodeAt(i)) return false
  return true
}

function hash(bytes: Uint8Array, start: number, end: number): number {
  let value = end - start
  for (let i = start; i < end; i++) value = (value * 31 + FOLDED[bytes[i]!]!) & 0xffffff
  return value % SLOTS
}
