// The data plane: from a client's statement to the rows.
export { Router, type RouterDeps, type RouterOptions } from './router.ts'
export { routerRoutes } from './listeners/http/routes.ts'
export { loadMapCopy, tokenSource, type LoadedCopy } from './topology/map-file.ts'
export type { WireTls } from './listeners/pgwire/tls.ts'
export type { WireAuthentication, WireOptions } from './wire.ts'
