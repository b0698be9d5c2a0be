// Face of security: where secrets and certificates come from, who sends a token, and how much one caller
// may ask.
export * from './api-token.ts'
export * from './authenticator.ts'
export * from './browser-session.ts'
export * from './envelope.ts'
export * from './jwt.ts'
export * from './oidc.ts'
export { createLocalKeyService, makeKey, type KeySource } from './key-service.ts'
export * from './rate-limit.ts'
export * from './secrets.ts'
export * from './tls-files.ts'
