// PostgreSQL's wire protocol, version 3, as pure code: framing, encoders, decoders, authentication exchanges.
// No sockets, no clock, no state but that of a stream.
export * from './backend.ts'
export * from './backend-encode.ts'
export * from './codes.ts'
export * from './cursor.ts'
export * from './framing.ts'
export * from './frontend.ts'
export * from './frontend-decode.ts'
export * from './password.ts'
export * from './scram.ts'
export * from './scram-server.ts'
export * from './violation.ts'
export * from './writer.ts'
