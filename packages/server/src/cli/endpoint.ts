// Endpoints of database servers as they are given on the command line.
import type { Environment } from '../runtime/mod.ts'
import { usage } from './options.ts'

/**
 * The postgres:// URL, with the password of PGPASSWORD where it names a user and has none of its own.
 * @throws FleetError `invalid_usage`
 */
export function endpointOf(text: string, env: Environment): string {
  const url = URL.parse(text)
  if (url === null || !['postgres:', 'postgresql:'].includes(url.protocol)) {
    throw usage('an endpoint is not a postgres:// URL', 'it looks like postgres://user@host:5432/database')
  }
  const password = env['PGPASSWORD'] ?? ''
  if (url.password === '' && url.username !== '' && password !== '')
    url.password = encodeURIComponent(password)
  return url.href
}
