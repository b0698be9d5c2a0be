// POST /v1/topology/sessions: registration and logins for direct clients. They hold the passwords of the servers, so
// only programs on this machine are told, as long as routers do not know who asks.
import { DirectSession, DirectSessionPath, DirectSessionRequest } from '@fleetshard/core/contract'
import { FleetError, grantOn, isLocalHost } from '@fleetshard/core'
import { ok, route, type Call, type Route } from '../../../../runtime/http/mod.ts'
import type { RouteParts } from './routes.ts'

/** The endpoints. */
export const directRoutes = (parts: RouteParts): Route[] => [begin(parts), end(parts)]

const begin = ({ direct }: RouteParts): Route =>
  route({
    method: 'POST',
    url: '/v1/topology/sessions',
    tag: 'topology',
    summary:
      'Register a direct client, or renew its session; tells the logins to the servers of its keyspace',
    body: DirectSessionRequest,
    answers: { 200: DirectSession },
    kind: 'read',
    permission: 'login',
    async handle({ body }, call) {
      refuseOthers(call)
      refuseReaders(call, body.keyspace)
      return ok(await direct.renew(body))
    },
  })

const end = ({ direct }: RouteParts): Route =>
  route({
    method: 'DELETE',
    url: '/v1/topology/sessions/:client_id',
    tag: 'topology',
    summary: 'End the session of a direct client',
    params: DirectSessionPath,
    answers: { 204: null },
    kind: 'read',
    permission: 'login',
    async handle({ params }, call) {
      refuseOthers(call)
      await direct.end(params.client_id)
      return { kind: 'json', status: 204 }
    },
  })

/** Set by proxies, which hide where a request comes from, and by browsers, in which any page may ask. */
const FOREIGN = ['forwarded', 'x-forwarded-for', 'via', 'origin']

/** The logins are of the owners of the databases. @throws FleetError `forbidden` without a grant to write */
function refuseReaders({ principal }: Call, keyspace: string): void {
  if (grantOn(principal, keyspace) === 'write') return
  throw new FleetError(
    'forbidden',
    `${principal.subject} may not have the logins of the keyspace ${keyspace}`,
    {
      hint: `it takes the scope write:${keyspace}; with less, connect with mode 'http'`,
    },
  )
}

/** @throws FleetError `direct_refused` unless a program on this machine asks */
function refuseOthers({ request }: Call): void {
  const { remoteAddress = '' } = request.raw.socket
  const foreign = FOREIGN.find((name) => request.headers[name] !== undefined)
  if (foreign === undefined && isLocalHost(remoteAddress.replace(/^::ffff:/, ''))) return
  const why = foreign === undefined ? `it comes from ${remoteAddress}` : `it has the header ${foreign}`
  throw new FleetError('direct_refused', `logins are told to programs on this machine only, and ${why}`, {
    hint: "give connect the option credentials, or use mode 'http'",
  })
}
