/**
 * Compares items with what OpenSSL's s_client printed of its handshake, and with what it was told on its command line.
 */
import type { Item, Json } from '../../core/item.ts'
import type { Circumstances, Comparison } from './comparison.ts'
import type { Explanation } from './explained.ts'
import type { Counters } from './oracle.ts'

export const counters: Counters = {
  'tls.client_hello': item => isTls(item) && item.request !== null,
  'tls.server_hello': item => isTls(item) && item.response !== null && item.response.version !== null,
  'tls.sni': item => (isTls(item) ? (item.request?.sni ?? null) : null),
  'tls.certificate': item =>
    isTls(item) && (item.response?.certificates?.length > 0 || item.response?.clientCertificates?.length > 0),
  'tls.alerts': item => isTls(item) && item.response?.alerts?.length > 0,
}

// biome-ignore lint/suspicious/noExplicitAny: truth files have as many shapes as programs that wrote them.
export function compare(truth: any, items: Item[], { base, expect }: Circumstances): Comparison {
  const result: Comparison = { expected: 0, equal: 0, missing: [], wrong: [] }
  if (expect === 'no crash') return result
  const told = items.filter(isTls)
  const absence = expect === 'subset' ? 'packets missing from the capture' : undefined
  const expected = handshakes(base ?? truth)
  for (const [i, handshake] of expected.entries()) {
    const item = told[i]
    result.expected++
    const differences = item === undefined ? [] : difference(handshake, item)
    const half = item !== undefined && (item.request === null || item.response === null)
    if (differences.length > 0) result.wrong.push({ what: `handshake ${i}: ${differences.join('; ')}` })
    else if (item === undefined || half)
      result.missing.push({ what: `handshake ${i}`, ...(absence === undefined ? {} : { why: absence }) })
    else result.equal++
  }
  if (expected.length > 0 && absence === undefined)
    for (const item of told.slice(expected.length))
      result.wrong.push({ what: `${item.id}: a handshake that nobody made`, unexpected: true })
  return result
}

function isTls(item: Item): boolean {
  return item.protocol.name === 'tlsx' && item.protocol.layer4 === 'tcp'
}

/** Names of fields of request and response, with what they must be. */
interface Expectation {
  request: Json
  response: Json
}

// biome-ignore lint/suspicious/noExplicitAny: see above.
function handshakes(truth: any): Expectation[] {
  const lines = [...(truth.ticket ?? []), ...(truth.sessionId ?? [])] as string[]
  if (lines.length > 0)
    return lines.map((line, i) => resumed(line, i < (truth.ticket ?? []).length ? 'ticket' : 'session-id'))
  if (truth.cipher === undefined) return []
  const version = versionName(truth.protocol)
  const is13 = version === 'TLS 1.3'
  const client: string = truth.args.client
  const response: Json = {
    version,
    cipherSuite: SUITES[truth.cipher] ?? truth.cipher,
    resumption: truth.reused ? undefined : 'full',
    group: groupName(truth.serverTempKey),
    alpn: is13 ? null : (truth.alpn ?? null),
    encrypted: true,
    alerts: [],
    helloRetryRequest: truth.note.startsWith('HelloRetryRequest') ? { group: groupName(truth.serverTempKey) } : null,
    // Those of TLS 1.3 are encrypted; s_client's code 18 is a certificate that signed itself.
    selfSigned: is13 ? undefined : truth.verify.startsWith('18 ') || undefined,
    // With any certificate and without.
    certified: !is13 && !truth.cipher.startsWith('PSK'),
    clientCertificates: [],
  }
  const request: Json = {
    sni: option(client, 'servername'),
    alpn: option(client, 'alpn')?.split(',') ?? [],
  }
  return [{ request, response }]
}

/** `Reused, TLSv1.2, Cipher is ECDHE-RSA-AES256-GCM-SHA384` */
function resumed(line: string, how: string): Expectation {
  const [first, protocol, cipher] = line.trim().split(', ') as [string, string, string]
  return {
    request: {},
    response: {
      version: versionName(protocol),
      cipherSuite: SUITES[cipher.replace('Cipher is ', '')],
      resumption: first === 'Reused' ? how : 'full',
      certified: first !== 'Reused',
    },
  }
}

function difference({ request, response }: Expectation, item: Item): string[] {
  const found: string[] = []
  if (item.request !== null)
    for (const [name, value] of Object.entries(request)) found.push(...differs(name, value, item.request[name]))
  if (item.response !== null) {
    const told: Json = {
      ...item.response,
      selfSigned: item.response.warnings.includes('self-signed-certificate'),
      certified: item.response.certificates.length > 0,
    }
    for (const [name, value] of Object.entries(response)) found.push(...differs(name, value, told[name]))
  }
  return found
}

function differs(name: string, expected: unknown, found: unknown): string[] {
  if (expected === undefined) return []
  const [a, b] = [JSON.stringify(expected), JSON.stringify(found)]
  return a === b ? [] : [`${name} ${a} expected, ${b} found`]
}

function option(command: string, name: string): string | null {
  return new RegExp(`-${name} (\\S+)`).exec(command)?.[1] ?? null
}

/** `TLSv1` is 1.0. */
function versionName(protocol: string): string {
  return `TLS ${/v(\d\.\d)$/.exec(protocol)?.[1] ?? '1.0'}`
}

/** `X25519, 253 bits`, `ECDH, secp384r1, 384 bits`, `DH, 2048 bits` */
function groupName(key: string | undefined): string | null {
  if (key === undefined) return null
  const words = key.split(', ')
  if (words[0] === 'DH') return `dh-${Number.parseInt(words[1]!, 10)}`
  return words[0] === 'ECDH' ? words[1]! : words[0]!.toLowerCase()
}

/** As OpenSSL calls them; those of TLS 1.3 have one name. */
const SUITES: Readonly<Record<string, string>> = {
  'ECDHE-RSA-AES256-SHA': 'TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA',
  'ECDHE-RSA-AES128-SHA': 'TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA',
  'ECDHE-RSA-AES128-GCM-SHA256': 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256',
  'ECDHE-RSA-AES256-GCM-SHA384': 'TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384',
  'ECDHE-ECDSA-AES128-CCM8': 'TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8',
  'DHE-RSA-AES128-GCM-SHA256': 'TLS_DHE_RSA_WITH_AES_128_GCM_SHA256',
  'PSK-AES128-GCM-SHA256': 'TLS_PSK_WITH_AES_128_GCM_SHA256',
  'AES256-GCM-SHA384': 'TLS_RSA_WITH_AES_256_GCM_SHA384',
}

const KEYS = 'tshark was given the keys'

export const explanations: readonly Explanation[] = [
  ...['own__tls13', 'own__tls_fragmented', 'own__derived', 'own__https', 'own__redis', 'own__wss'].flatMap(name => [
    {
      path: `tls/${name}`,
      count: 'tls.certificate',
      why: `${KEYS}; in TLS 1.3 certificates are encrypted`,
    },
    { path: `tls/${name}`, count: 'tls.alerts', why: `${KEYS}; the alerts that close a connection are encrypted` },
  ]),
  ...['own__tls1', 'own__resumption', 'own__renegotiation', 'zeek__tls_tls12-decryption'].map(name => ({
    path: `tls/${name}`,
    count: 'tls.alerts',
    why: `${KEYS}; the alerts that close a connection are encrypted`,
  })),
  {
    path: 'graphql/own__tls_http2',
    count: 'tls.',
    why: `${KEYS}; in TLS 1.3 certificates and the alerts that close a connection are encrypted`,
  },
  { path: 'tls/own__renegotiation', count: 'tls.', why: `${KEYS}; the second handshake goes on within the first` },
  { path: 'tls/own__tls13_hrr', count: 'tls.', why: 'a HelloRetryRequest: two hellos of each side, one handshake' },
  { path: 'tls/zeek__tls_hrr', count: 'tls.', why: 'a HelloRetryRequest: two hellos of each side, one handshake' },
  { path: 'tls/own__starttls', count: 'tls.', why: `${KEYS}; in TLS 1.3 certificates and alerts are encrypted` },
  {
    path: 'pcapng/pcpp__PcapExamples_pcapng-example',
    count: 'tls.certificate',
    why: 'certificates of both sides, which are one handshake',
  },
  { path: 'tls/suricata__tls-duplicate-hello', count: 'tls.client_hello', why: 'the same hello twice: one handshake' },
  {
    path: 'tls/suricata__tls-store-02',
    count: 'tls.certificate',
    why: 'certificates of both sides, which are one handshake',
  },
  {
    path: 'tls/arkime__ssl-selfsign',
    count: 'tls.certificate',
    why: 'certificates of both sides, which are one handshake',
  },
  {
    path: 'tls/zeek__tls_certificate-request-failed',
    count: 'tls.certificate',
    why: 'the client answered the request with no certificate, which tshark counts',
  },
  { path: 'tls/ndpi__tls_port_80', count: 'tls.', why: 'tshark does not look for TLS on port 80' },
  {
    path: 'tls/zeek__tls_https-to-http',
    count: 'tls.client_hello',
    why: 'tshark does not look for TLS on port 80, where the answer is in HTTP',
  },
  {
    path: 'tls/zeek__tls_tls-fragmented-handshake',
    count: 'tls.certificate',
    why: 'a message of 330000 bytes in records of 16 KB: tshark does not put it together',
  },
]
