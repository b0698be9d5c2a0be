// The data plane: from a client's statement to the rows.
export { Router, type RouterDeps, type RouterOptions } from './router.ts'
export { loadMapCopy, type LoadedCopy } from './topology/map-file.ts'
