export * from './access.ts'
