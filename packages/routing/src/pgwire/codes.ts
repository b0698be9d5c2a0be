// The codes of PostgreSQL's frontend/backend protocol, version 3: message types, request codes, authentication
// kinds. Both roles use them. Source: PostgreSQL documentation, chapter 55, "Message Formats" and
// "Message Flow" (https://www.postgresql.org/docs/current/protocol-message-formats.html).

/** Bytes before the body of a message: the type and the length. */
export const messageHeaderBytes = 5
/** Bytes before the body of the messages that open a connection: the length alone. */
export const startupHeaderBytes = 4
/** Postgres takes no message of 1 GiB or more in either direction; so does nobody here. */
export const wireLengthMax = 0x3fffffff
/** Largest startup message that a Postgres server takes. */
export const startupBytesMax = 10_004
/** Smallest one: its length and a code. */
export const startupBytesMin = 8
/** Bind counts parameters in 16 bits. */
export const parametersMax = 65_535

/** Types of messages that a server sends. */
export const backendCode = {
  authentication: 0x52, // R
  backendKeyData: 0x4b, // K
  bindComplete: 0x32, // 2
  closeComplete: 0x33, // 3
  commandComplete: 0x43, // C
  copyData: 0x64, // d
  copyDone: 0x63, // c
  copyInResponse: 0x47, // G
  copyOutResponse: 0x48, // H
  copyBothResponse: 0x57, // W
  dataRow: 0x44, // D
  emptyQueryResponse: 0x49, // I
  errorResponse: 0x45, // E
  functionCallResponse: 0x56, // V
  negotiateProtocolVersion: 0x76, // v
  noData: 0x6e, // n
  noticeResponse: 0x4e, // N
  notificationResponse: 0x41, // A
  parameterDescription: 0x74, // t
  parameterStatus: 0x53, // S
  parseComplete: 0x31, // 1
  portalSuspended: 0x73, // s
  readyForQuery: 0x5a, // Z
  rowDescription: 0x54, // T
} as const

/** Types of messages that a client sends after its startup message. */
export const frontendCode = {
  bind: 0x42, // B
  close: 0x43, // C
  copyData: 0x64, // d
  copyDone: 0x63, // c
  copyFail: 0x66, // f
  describe: 0x44, // D
  execute: 0x45, // E
  flush: 0x48, // H
  functionCall: 0x46, // F
  parse: 0x50, // P
  /** PasswordMessage, SASLInitialResponse, SASLResponse: told apart by the state. */
  password: 0x70, // p
  query: 0x51, // Q
  sync: 0x53, // S
  terminate: 0x58, // X
} as const

/** First word of the messages without a type byte. */
export const requestCode = {
  protocol30: 196_608,
  protocol32: 196_610,
  cancel: 80_877_102,
  ssl: 80_877_103,
  gssEncryption: 80_877_104,
} as const

/** First word of an Authentication message. */
export const authenticationCode = {
  ok: 0,
  cleartextPassword: 3,
  md5Password: 5,
  sasl: 10,
  saslContinue: 11,
  saslFinal: 12,
} as const

const known = new Set<number>(Object.values(backendCode))
const backendCodes = Uint8Array.from({ length: 256 }, (_, type) => (known.has(type) ? 1 : 0))

/** False for a byte that no server sends as a type: the stream is out of step. */
export function isBackendCode(type: number): boolean {
  return backendCodes[type] === 1
}
