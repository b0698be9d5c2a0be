// What the tests of other packages build upon: messages of the wire protocol, and maps without servers.
export * from './pgwire/testing.ts'
export * from './plan/testing.ts'
export * from './wire/testing-certificates.ts'
