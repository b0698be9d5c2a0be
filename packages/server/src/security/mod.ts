// Face of security: where secrets come from.
export * from './secrets.ts'
