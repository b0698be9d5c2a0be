// The agent as others see it: the HTTP contract and its client.
export * from './contract.ts'
export * from './client.ts'
