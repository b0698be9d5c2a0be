// The router's endpoints that are not hot, and the descriptions of those that are, for OpenAPI.
import {
  BeginRequest,
  BeginResponse,
  EndRequest,
  EndResponse,
  ExecuteRequest,
  ExecuteResponse,
  HeldExecuteRequest,
  RouterReady,
  RouteRequest,
  RouteResponse,
  ShardForKeyQuery,
  ShardForKeyResponse,
  StatementProblem,
  TransactionRequest,
  TransactionResponse,
} from '@fleetshard/core/contract'
import { FleetError, formatEndpoint, parseKeyspaceName, type KeyType, type ShardMap } from '@fleetshard/core'
import { Type, type TSchema } from 'typebox'
import { ok, route, type Answer, type Route, type Streams } from '../../../../runtime/http/mod.ts'
import { explainRoute, slotKey, tableNamesOf } from '@fleetshard/routing/plan'
import { Cancellation } from '@fleetshard/routing/execute'
import { directRoutes } from './direct.ts'
import type { QueryEndpoint, StatementRoute } from './endpoint.ts'
import { knownOf } from './query.ts'
import { refuseStrangers, topologyRoute } from './topology.ts'
import type { ListenerParts } from './listener.ts'

/** What the routes stand on. */
export interface RouteParts extends ListenerParts {
  readonly endpoint: QueryEndpoint
  readonly isStopping: () => boolean
  readonly streams: Streams
}

/** Age of the map from which on the router calls itself stale, milliseconds. */
const staleAfterMs = 10_000

/** All routes of the router. */
export function routerRoutes(parts: RouteParts): Route[] {
  return [
    ...statementRoutes(parts),
    routeOfStatement(parts),
    shardForKey(parts),
    topologyRoute(parts),
    ...directRoutes(parts),
    health(parts),
    ready(parts),
  ]
}

/** The endpoints that the listener takes before fastify sees them: here they are described. */
const statementRoutes = ({ endpoint }: RouteParts): Route[] => {
  const described = (
    target: StatementRoute,
    summary: string,
    { body, answers }: { body: TSchema; answers: Readonly<Record<number, TSchema>> },
  ): Route => {
    const withId = target.includes(':id')
    return route({
      method: 'POST',
      url: target,
      tag: 'statements',
      summary,
      body,
      answers,
      ...(withId ? { params: Type.Object({ id: Type.String() }) } : {}),
      problem: StatementProblem,
      kind: 'read',
      permission: 'query',
      async handle({ body: sent, params }, call) {
        call.reply.hijack()
        const transactionId = 'id' in params && typeof params.id === 'string' ? params.id : null
        await endpoint.serve(call.request.raw, call.reply.raw, {
          route: target,
          transactionId,
          parsed: { body: sent },
        })
        return { kind: 'hijacked' }
      },
    })
  }
  return [
    described('/v1/execute', 'Run one statement on the shard that owns the key', {
      body: ExecuteRequest,
      answers: { 200: ExecuteResponse },
    }),
    described('/v1/transaction', 'Run statements on one shard, all or none', {
      body: TransactionRequest,
      answers: { 200: TransactionResponse },
    }),
    described('/v1/transactions', 'Begin a transaction that later requests use and end', {
      body: BeginRequest,
      answers: { 201: BeginResponse },
    }),
    described('/v1/transactions/:id/execute', 'Run one statement in an open transaction', {
      body: HeldExecuteRequest,
      answers: { 200: ExecuteResponse },
    }),
    described('/v1/transactions/:id/commit', 'Commit an open transaction', {
      body: EndRequest,
      answers: { 200: EndResponse },
    }),
    described('/v1/transactions/:id/rollback', 'Roll back an open transaction', {
      body: EndRequest,
      answers: { 200: EndResponse },
    }),
  ]
}

const routeOfStatement = ({ maps, query: parts }: RouteParts): Route =>
  route({
    method: 'POST',
    url: '/v1/route',
    tag: 'statements',
    summary: 'Where a statement would run, and why, without running it',
    body: RouteRequest,
    answers: { 200: RouteResponse },
    kind: 'read',
    permission: 'place',
    async handle({ body }, { principal }) {
      const keyspace = parseKeyspaceName(body.options?.keyspace ?? 'default')
      refuseStrangers(principal, keyspace)
      const map = maps.get(keyspace)
      const known = await knownOf(parts, body.query, new Cancellation())
      const request = { shardKey: body.shard_key, params: body.params ?? [] }
      const { plan, shards, reason, fix, keys } = explainRoute(known, map, request)
      const [only] = shards
      return ok({
        plan,
        shard_id: shards.length === 1 && only !== undefined ? only.id : null,
        shard_ids: shards.map(({ id }) => id),
        reason,
        hint: fix,
        keys: keys.map((key) => ({ ...key, values: [...key.values] })),
        epoch: map.epoch,
      })
    },
  })

const shardForKey = ({ maps }: RouteParts): Route =>
  route({
    method: 'GET',
    url: '/v1/shard-for-key',
    tag: 'topology',
    summary: 'The shard that owns a key',
    query: ShardForKeyQuery,
    answers: { 200: ShardForKeyResponse },
    kind: 'read',
    permission: 'place',
    async handle({ query }, { principal }) {
      const keyspace = parseKeyspaceName(query.keyspace ?? 'default')
      refuseStrangers(principal, keyspace)
      const map = maps.get(keyspace)
      const type = keyTypeOf(map, query.table)
      const { shard, token, hash, epoch } = map.locate(slotKey(query.key, type), type)
      const endpoints = shard.nodes.map((node) => ({ role: node.role, endpoint: formatEndpoint(node) }))
      return ok({
        shard_id: shard.id,
        shard_name: shard.name,
        hash,
        vnode: token,
        epoch,
        primary_endpoint: endpoints.find(({ role }) => role === 'primary')?.endpoint ?? null,
        replicas: endpoints.filter(({ role }) => role === 'replica').map(({ endpoint }) => endpoint),
      })
    },
  })

/** The key type of the table named, else that of the keyspace. @throws FleetError `not_found` */
function keyTypeOf(map: ShardMap, name: string | undefined): KeyType {
  if (name === undefined) return map.keyType ?? 'text'
  const [first = '', second] = name.split('.')
  const table = tableNamesOf(map).find(
    second === undefined ? { schema: null, name: first } : { schema: first, name: second },
  )
  if (table !== null && table.keyType !== null) return table.keyType
  throw new FleetError(
    'not_found',
    `${JSON.stringify(name)} is not a sharded table of keyspace ${map.snapshot.keyspace.name}`,
    {
      hint: 'fleetshard table list shows the declared tables',
    },
  )
}

const health = ({ options }: RouteParts): Route =>
  route({
    method: 'GET',
    url: '/health',
    tag: 'probes',
    summary: 'The process is alive',
    answers: {
      200: Type.Object({ status: Type.Literal('ok'), role: Type.String(), version: Type.String() }),
    },
    kind: 'probe',
    permission: 'open',
    handle: () => Promise.resolve(ok({ status: 'ok', role: 'router', version: options.version })),
  })

const ready = (parts: RouteParts): Route =>
  route({
    method: 'GET',
    url: '/ready',
    tag: 'probes',
    summary: 'The router has a map and takes statements',
    answers: { 200: RouterReady, 503: RouterReady },
    kind: 'probe',
    permission: 'open',
    handle: () => Promise.resolve(readiness(parts)),
  })

function readiness({ maps, port, mapAgeMs, options, isStopping }: RouteParts): Answer {
  const known = [...maps.all()]
  const age = mapAgeMs()
  const status = isStopping()
    ? 'stopping'
    : known.length === 0 && !port.view.isLoaded()
      ? 'starting'
      : age > staleAfterMs
        ? 'stale'
        : 'ready'
  const body: RouterReady = {
    status,
    id: options.id,
    epochs: Object.fromEntries(known.map((map) => [map.snapshot.keyspace.name, map.epoch])),
    map_age_ms: age === Infinity ? null : Math.round(age),
  }
  return { kind: 'json', status: status === 'ready' || status === 'stale' ? 200 : 503, body }
}
