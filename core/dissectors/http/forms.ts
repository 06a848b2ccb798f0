/** Names and values out of text: cookies (RFC 6265), query strings, form bodies (RFC 7578 and the URL standard). */
import { Buffer } from 'node:buffer'

export interface Parameter {
  name: string
  value: string
  fileName?: string
  contentType?: string
}

const MAX_PARAMETERS = 1000
/** Of a part's own fields; beyond this it is no part, and a search costs what it does. */
const MAX_PART_HEAD = 8192
/** A file within a form is in the body's text already. */
const MAX_PARAMETER = 65_536

/** Repeated names become arrays. */
export function parseQuery(text: string): Record<string, string | string[]> {
  const found: Record<string, string | string[]> = Object.create(null)
  for (const { name, value } of parseForm(text)) {
    const known = found[name]
    if (known === undefined) found[name] = value
    else if (typeof known === 'string') found[name] = [known, value]
    else known.push(value)
  }
  return found
}

/** application/x-www-form-urlencoded. */
export function parseForm(text: string): Parameter[] {
  const found: Parameter[] = []
  for (const part of text.split('&', MAX_PARAMETERS)) {
    if (part === '') continue
    const equals = part.indexOf('=')
    found.push({
      name: unescapeForm(equals < 0 ? part : part.slice(0, equals)),
      value: equals < 0 ? '' : unescapeForm(part.slice(equals + 1)),
    })
  }
  return found
}

/** Percent signs that escape nothing stay as they are. */
function unescapeForm(text: string): string {
  const plain = text.replaceAll('+', ' ')
  if (!plain.includes('%')) return plain
  try {
    return decodeURIComponent(plain)
  } catch {
    return plain.replace(/%[0-9a-f]{2}/gi, escaped => {
      const code = Number.parseInt(escaped.slice(1), 16)
      return code < 0x80 ? String.fromCharCode(code) : escaped
    })
  }
}

/** `a=1; b=2` */
export function parseCookies(lines: readonly string[]): Record<string, string> {
  const found: Record<string, string> = Object.create(null)
  for (const line of lines)
    for (const part of line.split(';', MAX_PARAMETERS)) {
      const equals = part.indexOf('=')
      const name = part.slice(0, Math.max(0, equals)).trim()
      if (name !== '') found[name] = part.slice(equals + 1).trim()
    }
  return found
}

/** The name and value of each Set-Cookie; its attributes stay in the header. */
export function parseSetCookies(lines: readonly string[]): Record<string, string> {
  return parseCookies(lines.map(line => line.split(';', 1)[0]!))
}

/** multipart/form-data; parts without a name are left out. */
export function parseMultipart(body: Uint8Array, contentType: string): Parameter[] {
  const boundary = /;\s*boundary=(?:"([^"]+)"|([^\s;]+))/i.exec(contentType)
  if (boundary === null) return []
  const text = Buffer.from(body.buffer, body.byteOffset, body.length).toString('latin1')
  const found: Parameter[] = []
  for (const part of text.split(`--${boundary[1] ?? boundary[2]}`, MAX_PARAMETERS).slice(1)) {
    const blank = part.indexOf('\r\n\r\n')
    if (part.startsWith('--') || blank < 0 || blank > MAX_PART_HEAD) continue
    const head = part.slice(0, blank)
    const name = /^content-disposition:[^\r\n]*;[ \t]*name="((?:[^"\\]|\\.)*)"/im.exec(head)?.[1]
    if (name === undefined) continue
    const fileName = /^content-disposition:[^\r\n]*;[ \t]*filename="((?:[^"\\]|\\.)*)"/im.exec(head)?.[1]
    const type = /^content-type:[ \t]*([^\r\n]+)/im.exec(head)?.[1]
    const value = part.slice(blank + 4, part.endsWith('\r\n') ? -2 : undefined)
    found.push({
      name: utf8(name),
      value: fileName === undefined ? utf8(value.slice(0, MAX_PARAMETER)) : '',
      ...(fileName !== undefined && { fileName: utf8(fileName) }),
      ...(type !== undefined && { contentType: type }),
    })
  }
  return found
}

function utf8(latin1: string): string {
  return Buffer.from(latin1, 'latin1').toString('utf8')
}
