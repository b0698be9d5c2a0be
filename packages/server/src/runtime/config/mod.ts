// Configuration: one typed table, read from flags, environment, file and defaults.
export * from './types.ts'
export * from './table.ts'
export * from './names.ts'
export { loadConfig, Config } from './config.ts'
export type { ConfigLine, GivenFlag } from './config.ts'
export { readEnvironment, type Environment } from './environment.ts'
export { displayValue, expectation, formatBytes, redactUrl } from './parse.ts'
