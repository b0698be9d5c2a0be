// The data plane: from a client's statement to the rows.
export { Router, type RouterOptions } from './router.ts'
export { loadMapCopy, type LoadedCopy } from './topology/map-file.ts'
export type { WireCertificate } from './listeners/pgwire/tls.ts'
export type { WireAuthentication, WireOptions } from './wire.ts'
