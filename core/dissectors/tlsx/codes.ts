/**
 * What numbers on the wire are called: IANA's registries of TLS parameters and of TLS extensions, with the drafts that
 * browsers and libraries have shipped.
 */

/** `TLS 1.3`, `SSL 3.0`, `DTLS 1.2`, `TLS 1.3 draft 23`. */
export function versionName(code: number): string {
  const name = VERSIONS.get(code)
  if (name !== undefined) return name
  if (code >> 8 === 0x7f) return `TLS 1.3 draft ${code & 0xff}`
  if (code >> 8 === 0xfb) return `TLS 1.3 draft ${code & 0xff} of Facebook`
  return nameless(code)
}

/** Of TLS over TCP and QUIC: what follows ServerHello is encrypted. */
export function isTls13(code: number): boolean {
  return code === 0x0304 || code >> 8 === 0x7f || code >> 8 === 0xfb || code === 0xfefc
}

/** SSL, TLS 1.0 and 1.1 (RFC 6176, 7568, 8996). */
export function isDeprecated(code: number): boolean {
  return code < 0x0303 || code === 0xfeff
}

/** Reserved so that servers get used to numbers they do not know (RFC 8701). */
export function isGrease(code: number): boolean {
  return (code & 0x0f0f) === 0x0a0a && code >> 8 === (code & 0xff)
}

export function groupName(code: number): string {
  return GROUPS.get(code) ?? nameless(code)
}

export function signatureName(code: number): string {
  const scheme = SCHEMES.get(code)
  if (scheme !== undefined) return scheme
  // TLS 1.2 has pairs of hash and signature (RFC 5246, 7.4.1.4.1).
  const [hash, signature] = [HASHES[code >> 8], SIGNATURES[code & 0xff]]
  return hash === undefined || signature === undefined ? nameless(code) : `${signature}_${hash}`
}

export function extensionName(code: number): string {
  return EXTENSIONS.get(code) ?? nameless(code)
}

export function alertName(code: number): string {
  return ALERTS.get(code) ?? `alert ${code}`
}

export function compressionName(code: number): string {
  return COMPRESSIONS.get(code) ?? String(code)
}

export function certificateCompressionName(code: number): string {
  return CERTIFICATE_COMPRESSIONS.get(code) ?? nameless(code)
}

export function pointFormatName(code: number): string {
  return POINT_FORMATS[code] ?? String(code)
}

export function pskModeName(code: number): string {
  return PSK_MODES[code] ?? (code % 0x1f === 0x0b ? 'GREASE' : String(code))
}

export function kdfName(code: number): string {
  return KDFS.get(code) ?? nameless(code)
}

export function aeadName(code: number): string {
  return AEADS.get(code) ?? nameless(code)
}

function nameless(code: number): string {
  return isGrease(code) ? 'GREASE' : `0x${code.toString(16).padStart(4, '0')}`
}

const VERSIONS = new Map([
  [0x0002, 'SSL 2.0'],
  [0x0300, 'SSL 3.0'],
  [0x0301, 'TLS 1.0'],
  [0x0302, 'TLS 1.1'],
  [0x0303, 'TLS 1.2'],
  [0x0304, 'TLS 1.3'],
  [0xfeff, 'DTLS 1.0'],
  [0xfefd, 'DTLS 1.2'],
  [0xfefc, 'DTLS 1.3'],
])

const GROUPS = new Map<number, string>([
  ...numbered(1, [
    'sect163k1 sect163r1 sect163r2 sect193r1 sect193r2 sect233k1 sect233r1 sect239k1 sect283k1 sect283r1 sect409k1',
    'sect409r1 sect571k1 sect571r1 secp160k1 secp160r1 secp160r2 secp192k1 secp192r1 secp224k1 secp224r1 secp256k1',
    'secp256r1 secp384r1 secp521r1 brainpoolP256r1 brainpoolP384r1 brainpoolP512r1 x25519 x448 brainpoolP256r1tls13',
    'brainpoolP384r1tls13 brainpoolP512r1tls13 GC256A GC256B GC256C GC256D GC512A GC512B GC512C curveSM2',
  ]),
  ...numbered(0x0100, ['ffdhe2048 ffdhe3072 ffdhe4096 ffdhe6144 ffdhe8192']),
  ...numbered(0x0200, ['MLKEM512 MLKEM768 MLKEM1024']),
  ...numbered(0x11eb, ['SecP256r1MLKEM768 X25519MLKEM768 SecP384r1MLKEM1024 curveSM2MLKEM768']),
  ...numbered(0x6399, ['X25519Kyber768Draft00 SecP256r1Kyber768Draft00']),
  [0x4138, 'CECPQ2'],
  [0xff01, 'arbitrary_explicit_prime_curves'],
  [0xff02, 'arbitrary_explicit_char2_curves'],
])

const SCHEMES = new Map<number, string>([
  [0x0201, 'rsa_pkcs1_sha1'],
  [0x0203, 'ecdsa_sha1'],
  [0x0401, 'rsa_pkcs1_sha256'],
  [0x0403, 'ecdsa_secp256r1_sha256'],
  [0x0420, 'rsa_pkcs1_sha256_legacy'],
  [0x0501, 'rsa_pkcs1_sha384'],
  [0x0503, 'ecdsa_secp384r1_sha384'],
  [0x0520, 'rsa_pkcs1_sha384_legacy'],
  [0x0601, 'rsa_pkcs1_sha512'],
  [0x0603, 'ecdsa_secp521r1_sha512'],
  [0x0620, 'rsa_pkcs1_sha512_legacy'],
  [0x0704, 'eccsi_sha256'],
  ...numbered(0x0705, ['iso_ibs1 iso_ibs2 iso_chinese_ibs sm2sig_sm3']),
  ...numbered(0x0709, ['gostr34102012_256a gostr34102012_256b gostr34102012_256c gostr34102012_256d']),
  ...numbered(0x070d, ['gostr34102012_512a gostr34102012_512b gostr34102012_512c']),
  ...numbered(0x0804, ['rsa_pss_rsae_sha256 rsa_pss_rsae_sha384 rsa_pss_rsae_sha512 ed25519 ed448']),
  ...numbered(0x0809, ['rsa_pss_pss_sha256 rsa_pss_pss_sha384 rsa_pss_pss_sha512']),
  [0x081a, 'ecdsa_brainpoolP256r1tls13_sha256'],
  [0x081b, 'ecdsa_brainpoolP384r1tls13_sha384'],
  [0x081c, 'ecdsa_brainpoolP512r1tls13_sha512'],
  ...numbered(0x0904, ['mldsa44 mldsa65 mldsa87']),
])
const HASHES = ['none', 'md5', 'sha1', 'sha224', 'sha256', 'sha384', 'sha512']
const SIGNATURES = ['anonymous', 'rsa', 'dsa', 'ecdsa']

const EXTENSIONS = new Map<number, string>([
  ...numbered(0, [
    'server_name max_fragment_length client_certificate_url trusted_ca_keys truncated_hmac status_request user_mapping',
    'client_authz server_authz cert_type supported_groups ec_point_formats srp signature_algorithms use_srtp heartbeat',
    'application_layer_protocol_negotiation status_request_v2 signed_certificate_timestamp client_certificate_type',
    'server_certificate_type padding encrypt_then_mac extended_master_secret token_binding cached_info tls_lts',
    'compress_certificate record_size_limit pwd_protect pwd_clear password_salt ticket_pinning',
    'tls_cert_with_extern_psk delegated_credential session_ticket TLMSP TLMSP_proxying TLMSP_delegate',
    'supported_ekt_ciphers key_share_draft pre_shared_key early_data supported_versions cookie psk_key_exchange_modes',
    'ticket_early_data_info_draft certificate_authorities oid_filters post_handshake_auth signature_algorithms_cert',
    'key_share transparency_info connection_id_draft connection_id external_id_hash external_session_id',
    'quic_transport_parameters ticket_request dnssec_chain sequence_number_encryption_algorithms rrc tls_flags',
  ]),
  [0x3374, 'next_protocol_negotiation'],
  [0x4469, 'application_settings_draft'],
  [0x44cd, 'application_settings'],
  [0x754f, 'channel_id_draft'],
  [0x7550, 'channel_id'],
  [0xfd00, 'ech_outer_extensions'],
  [0xfe0d, 'encrypted_client_hello'],
  [0xff01, 'renegotiation_info'],
  [0xffa5, 'quic_transport_parameters_draft'],
  [0xffce, 'encrypted_server_name'],
])

const ALERTS = new Map<number, string>([
  [0, 'close_notify'],
  [1, 'end_of_early_data'],
  [10, 'unexpected_message'],
  [20, 'bad_record_mac'],
  [21, 'decryption_failed'],
  [22, 'record_overflow'],
  [30, 'decompression_failure'],
  [40, 'handshake_failure'],
  [41, 'no_certificate'],
  ...numbered(42, ['bad_certificate unsupported_certificate certificate_revoked certificate_expired']),
  ...numbered(46, ['certificate_unknown illegal_parameter unknown_ca access_denied decode_error decrypt_error']),
  [52, 'too_many_cids_requested'],
  [60, 'export_restriction'],
  [70, 'protocol_version'],
  [71, 'insufficient_security'],
  [80, 'internal_error'],
  [86, 'inappropriate_fallback'],
  [90, 'user_canceled'],
  [100, 'no_renegotiation'],
  ...numbered(109, ['missing_extension unsupported_extension certificate_unobtainable unrecognized_name']),
  ...numbered(113, ['bad_certificate_status_response bad_certificate_hash_value unknown_psk_identity']),
  ...numbered(116, ['certificate_required general_error']),
  [120, 'no_application_protocol'],
  [121, 'ech_required'],
])

const COMPRESSIONS = new Map([
  [0, 'null'],
  [1, 'deflate'],
  [64, 'lzs'],
])
const CERTIFICATE_COMPRESSIONS = new Map([
  [1, 'zlib'],
  [2, 'brotli'],
  [3, 'zstd'],
])
const POINT_FORMATS = ['uncompressed', 'ansiX962_compressed_prime', 'ansiX962_compressed_char2']
const PSK_MODES = ['psk_ke', 'psk_dhe_ke']

/** Of hybrid public key encryption (RFC 9180), which encrypted hellos use. */
const KDFS = new Map([
  [1, 'HKDF-SHA256'],
  [2, 'HKDF-SHA384'],
  [3, 'HKDF-SHA512'],
])
const AEADS = new Map([
  [1, 'AES-128-GCM'],
  [2, 'AES-256-GCM'],
  [3, 'ChaCha20Poly1305'],
])

function numbered(first: number, lines: readonly string[]): [number, string][] {
  const names = lines.flatMap(line => line.split(' '))
  return names.map((name, i) => [first + i, name])
}
