/** What packets of MQTT and their codes are called. */

/** By the upper half of the first byte. */
export const PACKETS = [
  'RESERVED',
  'CONNECT',
  'CONNACK',
  'PUBLISH',
  'PUBACK',
  'PUBREC',
  'PUBREL',
  'PUBCOMP',
  'SUBSCRIBE',
  'SUBACK',
  'UNSUBSCRIBE',
  'UNSUBACK',
  'PINGREQ',
  'PINGRESP',
  'DISCONNECT',
  'AUTH',
] as const

export type Packet = (typeof PACKETS)[number]

/** From here on reason codes tell of errors (5.0, 2.4), in SUBACK of 3.1.1, too. */
export const LEAST_ERROR = 0x80

/** CONNACK of 3.1 and 3.1.1. */
const RETURN_CODES = [
  'Connection accepted',
  'Unacceptable protocol version',
  'Identifier rejected',
  'Server unavailable',
  'Bad user name or password',
  'Not authorized',
]

/** 5.0, 2.4. */
const REASON_CODES: Readonly<Record<number, string>> = {
  0: 'Success',
  1: 'Granted QoS 1',
  2: 'Granted QoS 2',
  4: 'Disconnect with Will Message',
  16: 'No matching subscribers',
  17: 'No subscription existed',
  24: 'Continue authentication',
  25: 'Re-authenticate',
  128: 'Unspecified error',
  129: 'Malformed Packet',
  130: 'Protocol Error',
  131: 'Implementation specific error',
  132: 'Unsupported Protocol Version',
  133: 'Client Identifier not valid',
  134: 'Bad User Name or Password',
  135: 'Not authorized',
  136: 'Server unavailable',
  137: 'Server busy',
  138: 'Banned',
  139: 'Server shutting down',
  140: 'Bad authentication method',
  141: 'Keep Alive timeout',
  142: 'Session taken over',
  143: 'Topic Filter invalid',
  144: 'Topic Name invalid',
  145: 'Packet Identifier in use',
  146: 'Packet Identifier not found',
  147: 'Receive Maximum exceeded',
  148: 'Topic Alias invalid',
  149: 'Packet too large',
  150: 'Message rate too high',
  151: 'Quota exceeded',
  152: 'Administrative action',
  153: 'Payload format invalid',
  154: 'Retain not supported',
  155: 'QoS not supported',
  156: 'Use another server',
  157: 'Server moved',
  158: 'Shared Subscriptions not supported',
  159: 'Connection rate exceeded',
  160: 'Maximum connect time',
  161: 'Subscription Identifiers not supported',
  162: 'Wildcard Subscriptions not supported',
}

/** 0 means another thing in each packet. */
const ZERO: Partial<Record<Packet, string>> = {
  SUBACK: 'Granted QoS 0',
  DISCONNECT: 'Normal disconnection',
}

export function reasonOf(packet: Packet, code: number): string {
  return (code === 0 ? ZERO[packet] : undefined) ?? REASON_CODES[code] ?? `code ${code}`
}

export function isReason(code: number): boolean {
  return REASON_CODES[code] !== undefined
}

export function returnCodeOf(code: number): string {
  return RETURN_CODES[code] ?? `code ${code}`
}
