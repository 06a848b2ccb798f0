/**
 * Classes and methods of AMQP 0-9-1 with RabbitMQ's extensions: who may send them, with which fields, and what answers.
 * https://www.rabbitmq.com/resources/specs/amqp0-9-1.extended.xml
 */
import type { Side } from '../../dissector.ts'

/** `secret`: a longstr that must be in no item. Bits that follow each other share an octet, the first is the lowest. */
export type FieldType =
  | 'bit'
  | 'octet'
  | 'short'
  | 'long'
  | 'longlong'
  | 'shortstr'
  | 'longstr'
  | 'table'
  | 'timestamp'
  | 'secret'

export interface Field {
  /** As items name it; empty for what the specification reserves. */
  name: string
  type: FieldType
}

export interface Method {
  /** `basic publish` */
  name: string
  classId: number
  methodId: number
  from: Side | 'either'
  fields: readonly Field[]
  /** Names of what may answer it, empty when nothing does. */
  answers: readonly string[]
  /** It answers another one. */
  isAnswer: boolean
  /** A content header and body follow. */
  hasContent: boolean
}

export function findMethod(classId: number, methodId: number): Method | undefined {
  return METHODS.get((classId << 16) | methodId)
}

/** Basic properties, those with the highest flag first (bit 15 to bit 2). */
export const PROPERTIES: readonly Field[] = fieldsOf(
  'contentType:shortstr contentEncoding:shortstr headers:table deliveryMode:octet priority:octet correlationId:shortstr ' +
    'replyTo:shortstr expiration:shortstr messageId:shortstr timestamp:timestamp type:shortstr userId:shortstr ' +
    'appId:shortstr clusterId:shortstr',
)

/** id, name, sender, fields, answers */
type Row = readonly [id: number, name: string, from: Side | 'either', fields?: string, answers?: string]

const CLOSE = 'replyCode:short replyText:shortstr classId:short methodId:short'

const CLASSES: readonly (readonly [id: number, name: string, methods: readonly Row[]])[] = [
  [
    10,
    'connection',
    [
      [
        10,
        'start',
        'server',
        'versionMajor:octet versionMinor:octet serverProperties:table mechanisms:longstr locales:longstr',
        'start-ok',
      ],
      [11, 'start-ok', 'client', 'clientProperties:table mechanism:shortstr response:secret locale:shortstr'],
      [20, 'secure', 'server', 'challenge:longstr', 'secure-ok'],
      [21, 'secure-ok', 'client', 'response:secret'],
      [30, 'tune', 'server', 'channelMax:short frameMax:long heartbeat:short', 'tune-ok'],
      [31, 'tune-ok', 'client', 'channelMax:short frameMax:long heartbeat:short'],
      [40, 'open', 'client', 'virtualHost:shortstr :shortstr :bit', 'open-ok'],
      [41, 'open-ok', 'server', ':shortstr'],
      [50, 'close', 'either', CLOSE, 'close-ok'],
      [51, 'close-ok', 'either'],
      [60, 'blocked', 'server', 'reason:shortstr'],
      [61, 'unblocked', 'server'],
      [70, 'update-secret', 'client', 'newSecret:secret reason:shortstr', 'update-secret-ok'],
      [71, 'update-secret-ok', 'server'],
    ],
  ],
  [
    20,
    'channel',
    [
      [10, 'open', 'client', ':shortstr', 'open-ok'],
      [11, 'open-ok', 'server', ':longstr'],
      [20, 'flow', 'either', 'active:bit', 'flow-ok'],
      [21, 'flow-ok', 'either', 'active:bit'],
      [40, 'close', 'either', CLOSE, 'close-ok'],
      [41, 'close-ok', 'either'],
    ],
  ],
  [
    30,
    'access',
    [
      [10, 'request', 'client', 'realm:shortstr exclusive:bit passive:bit active:bit write:bit read:bit', 'request-ok'],
      [11, 'request-ok', 'server', 'ticket:short'],
    ],
  ],
  [
    40,
    'exchange',
    [
      [
        10,
        'declare',
        'client',
        ':short exchange:shortstr type:shortstr passive:bit durable:bit autoDelete:bit internal:bit noWait:bit arguments:table',
        'declare-ok',
      ],
      [11, 'declare-ok', 'server'],
      [20, 'delete', 'client', ':short exchange:shortstr ifUnused:bit noWait:bit', 'delete-ok'],
      [21, 'delete-ok', 'server'],
      [
        30,
        'bind',
        'client',
        ':short destination:shortstr source:shortstr routingKey:shortstr noWait:bit arguments:table',
        'bind-ok',
      ],
      [31, 'bind-ok', 'server'],
      [
        40,
        'unbind',
        'client',
        ':short destination:shortstr source:shortstr routingKey:shortstr noWait:bit arguments:table',
        'unbind-ok',
      ],
      [51, 'unbind-ok', 'server'],
    ],
  ],
  [
    50,
    'queue',
    [
      [
        10,
        'declare',
        'client',
        ':short queue:shortstr passive:bit durable:bit exclusive:bit autoDelete:bit noWait:bit arguments:table',
        'declare-ok',
      ],
      [11, 'declare-ok', 'server', 'queue:shortstr messageCount:long consumerCount:long'],
      [
        20,
        'bind',
        'client',
        ':short queue:shortstr exchange:shortstr routingKey:shortstr noWait:bit arguments:table',
        'bind-ok',
      ],
      [21, 'bind-ok', 'server'],
      [30, 'purge', 'client', ':short queue:shortstr noWait:bit', 'purge-ok'],
      [31, 'purge-ok', 'server', 'messageCount:long'],
      [40, 'delete', 'client', ':short queue:shortstr ifUnused:bit ifEmpty:bit noWait:bit', 'delete-ok'],
      [41, 'delete-ok', 'server', 'messageCount:long'],
      [
        50,
        'unbind',
        'client',
        ':short queue:shortstr exchange:shortstr routingKey:shortstr arguments:table',
        'unbind-ok',
      ],
      [51, 'unbind-ok', 'server'],
    ],
  ],
  [
    60,
    'basic',
    [
      [10, 'qos', 'client', 'prefetchSize:long prefetchCount:short global:bit', 'qos-ok'],
      [11, 'qos-ok', 'server'],
      [
        20,
        'consume',
        'client',
        ':short queue:shortstr consumerTag:shortstr noLocal:bit noAck:bit exclusive:bit noWait:bit arguments:table',
        'consume-ok',
      ],
      [21, 'consume-ok', 'server', 'consumerTag:shortstr'],
      // From the server: the queue is gone.
      [30, 'cancel', 'either', 'consumerTag:shortstr noWait:bit', 'cancel-ok'],
      [31, 'cancel-ok', 'either', 'consumerTag:shortstr'],
      [40, 'publish', 'client', ':short exchange:shortstr routingKey:shortstr mandatory:bit immediate:bit'],
      [50, 'return', 'server', 'replyCode:short replyText:shortstr exchange:shortstr routingKey:shortstr'],
      [
        60,
        'deliver',
        'server',
        'consumerTag:shortstr deliveryTag:longlong redelivered:bit exchange:shortstr routingKey:shortstr',
      ],
      [70, 'get', 'client', ':short queue:shortstr noAck:bit', 'get-ok get-empty'],
      [
        71,
        'get-ok',
        'server',
        'deliveryTag:longlong redelivered:bit exchange:shortstr routingKey:shortstr messageCount:long',
      ],
      [72, 'get-empty', 'server', ':shortstr'],
      // From the server: it confirms what was published.
      [80, 'ack', 'either', 'deliveryTag:longlong multiple:bit'],
      [90, 'reject', 'client', 'deliveryTag:longlong requeue:bit'],
      [100, 'recover-async', 'client', 'requeue:bit'],
      [110, 'recover', 'client', 'requeue:bit', 'recover-ok'],
      [111, 'recover-ok', 'server'],
      [120, 'nack', 'either', 'deliveryTag:longlong multiple:bit requeue:bit'],
      [200, 'credit', 'client', 'consumerTag:shortstr credit:long drain:bit', 'credit-ok'],
      [201, 'credit-ok', 'server', 'available:long'],
      [202, 'credit-drained', 'server', 'consumerTag:shortstr creditDrained:long'],
    ],
  ],
  [
    85,
    'confirm',
    [
      [10, 'select', 'client', 'noWait:bit', 'select-ok'],
      [11, 'select-ok', 'server'],
    ],
  ],
  [
    90,
    'tx',
    [
      [10, 'select', 'client', '', 'select-ok'],
      [11, 'select-ok', 'server'],
      [20, 'commit', 'client', '', 'commit-ok'],
      [21, 'commit-ok', 'server'],
      [30, 'rollback', 'client', '', 'rollback-ok'],
      [31, 'rollback-ok', 'server'],
    ],
  ],
]

const WITH_CONTENT: ReadonlySet<string> = new Set(['basic publish', 'basic return', 'basic deliver', 'basic get-ok'])

const METHODS: ReadonlyMap<number, Method> = new Map(
  CLASSES.flatMap(([classId, className, rows]) => {
    const answers = new Set(rows.flatMap(row => wordsOf(row[4])))
    return rows.map(([methodId, word, from, fields, answeredBy]): [number, Method] => {
      const name = `${className} ${word}`
      const method: Method = {
        name,
        classId,
        methodId,
        from,
        fields: fieldsOf(fields),
        answers: wordsOf(answeredBy).map(answer => `${className} ${answer}`),
        isAnswer: answers.has(word),
        hasContent: WITH_CONTENT.has(name),
      }
      return [(classId << 16) | methodId, method]
    })
  }),
)

function wordsOf(text = ''): string[] {
  return text === '' ? [] : text.split(' ')
}

/** `queue:shortstr :bit` */
function fieldsOf(text?: string): Field[] {
  return wordsOf(text).map(field => {
    const [name, type] = field.split(':') as [string, FieldType]
    return { name, type }
  })
}
