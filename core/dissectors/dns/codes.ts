/** The numbers of the DNS header and their names (https://www.iana.org/assignments/dns-parameters). */

/** RFC 1035, 4.1.1; RFC 1996; RFC 2136; RFC 8490. */
export const OPCODES: readonly (string | undefined)[] = [
  'Query',
  'IQuery',
  'Status',
  undefined,
  'Notify',
  'Update',
  'DSO',
]

export const DSO = 6

/** RFC 6895, 2.3, as dig spells them. From 16 on only with the upper bits in an OPT record. */
const RCODES: readonly (string | undefined)[] = [
  'NOERROR',
  'FORMERR',
  'SERVFAIL',
  'NXDOMAIN',
  'NOTIMP',
  'REFUSED',
  'YXDOMAIN',
  'YXRRSET',
  'NXRRSET',
  'NOTAUTH',
  'NOTZONE',
  'DSOTYPENI',
  undefined,
  undefined,
  undefined,
  undefined,
  'BADVERS',
  'BADKEY',
  'BADTIME',
  'BADMODE',
  'BADNAME',
  'BADALG',
  'BADTRUNC',
  'BADCOOKIE',
]

export function rcodeName(rcode: number): string {
  return RCODES[rcode] ?? `RCODE${rcode}`
}

/** The error field of TSIG and TKEY: where the header has BADVERS, the signature has BADSIG (RFC 8945, 3). */
export function signatureErrorName(code: number): string {
  return code === 16 ? 'BADSIG' : rcodeName(code)
}

export const CLASS_NONE = 254
export const CLASS_ANY = 255

const CLASSES: { readonly [number: number]: string } = {
  1: 'IN',
  3: 'CH',
  4: 'HS',
  [CLASS_NONE]: 'NONE',
  [CLASS_ANY]: 'ANY',
}

export function className(number: number): string {
  return CLASSES[number] ?? `CLASS${number}`
}
