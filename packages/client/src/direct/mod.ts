// Direct mode, for Node: loaded when it is asked for.
export { openDirect } from './open.ts'
