// Face of the manager.
export { createManager } from './manager.ts'
