/** The commands of MySQL and MariaDB (include/my_command.h of both), and how each is answered. */

/**
 * none: not at all; ok: OK, EOF or ERR; result: results; rows: more rows of a cursor; fields: columns; prepare: a
 * statement; text: one text; login: what proves who the client is; binlog: events without end.
 */
export type Answer = 'none' | 'ok' | 'result' | 'rows' | 'fields' | 'prepare' | 'text' | 'login' | 'binlog'

export interface Command {
  name: string
  answer: Answer
  /** Rows come in binary form. */
  binary?: true
}

export const INIT_DB = 2
export const QUERY = 3
export const PING = 14
export const CHANGE_USER = 17
export const PREPARE = 22
export const EXECUTE = 23
export const LONG_DATA = 24
export const CLOSE = 25
export const BULK_EXECUTE = 250

export const COMMANDS: ReadonlyMap<number, Command> = new Map<number, Command>([
  [0, { name: 'COM_SLEEP', answer: 'ok' }],
  [1, { name: 'COM_QUIT', answer: 'none' }],
  [INIT_DB, { name: 'COM_INIT_DB', answer: 'ok' }],
  [QUERY, { name: 'COM_QUERY', answer: 'result' }],
  [4, { name: 'COM_FIELD_LIST', answer: 'fields' }],
  [5, { name: 'COM_CREATE_DB', answer: 'ok' }],
  [6, { name: 'COM_DROP_DB', answer: 'ok' }],
  [7, { name: 'COM_REFRESH', answer: 'ok' }],
  [8, { name: 'COM_SHUTDOWN', answer: 'ok' }],
  [9, { name: 'COM_STATISTICS', answer: 'text' }],
  [10, { name: 'COM_PROCESS_INFO', answer: 'result' }],
  [11, { name: 'COM_CONNECT', answer: 'ok' }],
  [12, { name: 'COM_PROCESS_KILL', answer: 'ok' }],
  [13, { name: 'COM_DEBUG', answer: 'ok' }],
  [PING, { name: 'COM_PING', answer: 'ok' }],
  [15, { name: 'COM_TIME', answer: 'ok' }],
  [16, { name: 'COM_DELAYED_INSERT', answer: 'ok' }],
  [CHANGE_USER, { name: 'COM_CHANGE_USER', answer: 'login' }],
  [18, { name: 'COM_BINLOG_DUMP', answer: 'binlog' }],
  [19, { name: 'COM_TABLE_DUMP', answer: 'binlog' }],
  [20, { name: 'COM_CONNECT_OUT', answer: 'ok' }],
  [21, { name: 'COM_REGISTER_SLAVE', answer: 'ok' }],
  [PREPARE, { name: 'COM_STMT_PREPARE', answer: 'prepare' }],
  [EXECUTE, { name: 'COM_STMT_EXECUTE', answer: 'result', binary: true }],
  [LONG_DATA, { name: 'COM_STMT_SEND_LONG_DATA', answer: 'none' }],
  [CLOSE, { name: 'COM_STMT_CLOSE', answer: 'none' }],
  [26, { name: 'COM_STMT_RESET', answer: 'ok' }],
  [27, { name: 'COM_SET_OPTION', answer: 'ok' }],
  [28, { name: 'COM_STMT_FETCH', answer: 'rows', binary: true }],
  [29, { name: 'COM_DAEMON', answer: 'ok' }],
  [30, { name: 'COM_BINLOG_DUMP_GTID', answer: 'binlog' }],
  [31, { name: 'COM_RESET_CONNECTION', answer: 'ok' }],
  [BULK_EXECUTE, { name: 'COM_STMT_BULK_EXECUTE', answer: 'result', binary: true }],
])

/** Capabilities of clients and servers (include/mysql_com.h). */
export const CONNECT_WITH_DB = 1 << 3
export const COMPRESS = 1 << 5
export const PROTOCOL_41 = 1 << 9
export const SSL = 1 << 11
export const SECURE_CONNECTION = 1 << 15
export const PLUGIN_AUTH = 1 << 19
export const CONNECT_ATTRIBUTES = 1 << 20
export const PLUGIN_AUTH_LENENC = 1 << 21
/** No EOF between columns and rows, and OK in its place behind them. */
export const DEPRECATE_EOF = 1 << 24
export const ZSTD = 1 << 26
export const QUERY_ATTRIBUTES = 1 << 27

/** Status of the server, in OK and EOF. */
export const IN_TRANSACTION = 1
export const MORE_RESULTS = 8
export const CURSOR_EXISTS = 0x40
export const SESSION_CHANGED = 0x4000
