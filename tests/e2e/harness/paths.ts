// Where things lie in the checkout.
import { fileURLToPath } from 'node:url'

/** The checkout. */
export const root = fileURLToPath(new URL('../../../', import.meta.url)).replace(/\/$/, '')
/** The launcher that users run. */
export const launcher = `${root}/packages/server/bin/fleetshard.js`
