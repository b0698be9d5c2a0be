// /health and /ready
import { Health, ManagerReady } from '@fleetshard/core/contract'
import { route, type Route } from '../../../runtime/http/mod.ts'
import type { Api } from './context.ts'

const tag = 'health'
/** Endpoints for who watches this process. */
export const healthRoutes = (api: Api): readonly Route[] => [
  route({
    method: 'GET',
    url: '/health',
    tag,
    kind: 'probe',
    permission: 'open',
    summary: 'The process is alive',
    answers: { 200: Health },
    handle: async () => ({
      kind: 'json',
      status: 200,
      body: { status: 'ok', role: 'manager', version: api.version } satisfies Health,
    }),
  }),
  route({
    method: 'GET',
    url: '/ready',
    tag,
    kind: 'probe',
    permission: 'open',
    summary: 'Whether this manager answers, leads, and hears of the catalog',
    answers: { 200: ManagerReady, 503: ManagerReady },
    handle: async () => {
      const body = readiness(api)
      const isReady = body.status === 'ready' || body.status === 'stale'
      return { kind: 'json', status: isReady ? 200 : 503, body }
    },
  }),
]

function readiness(api: Api): ManagerReady {
  const age = api.parts.fleet.ageMs()
  const reachable = age <= api.catalogAgeMsMax
  return {
    status: statusOf(api, reachable),
    id: api.id,
    leader: api.leader.leadership() !== null,
    leader_url: api.leader.leader()?.url ?? null,
    catalog: { reachable, age_ms: Number.isFinite(age) ? Math.round(age) : null },
  }
}

function statusOf(api: Api, isReachable: boolean): ManagerReady['status'] {
  if (!api.isTakingWork()) return 'stopping'
  if (!api.parts.fleet.isLoaded()) return 'starting'
  return isReachable ? 'ready' : 'stale'
}
