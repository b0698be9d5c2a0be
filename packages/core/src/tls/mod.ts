// TLS for Node: what is shown and trusted, read from PEM, and fetch by it.
export * from './context.ts'
export * from './fetch.ts'
