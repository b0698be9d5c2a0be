// The behaviour of the client, the same in both modes: each mode runs every case against real servers and a real
// router. A client with a topology file runs all but those about the router it does not have.
import type { ConnectOptions, FleetShard } from '@fleetshard/client'
import { describe } from 'vitest'
import type { TestRouter } from '../../packages/server/src/data-plane/router/testing.ts'
import { allShardsCases } from './conformance/all-shards.ts'
import { errorCases, routerErrorCases } from './conformance/errors.ts'
import { idempotencyCases } from './conformance/idempotency.ts'
import { sessionCases } from './conformance/session.ts'
import { statementCases } from './conformance/statements.ts'
import { streamCases } from './conformance/streams.ts'
import { liveTopologyCases, topologyCases } from './conformance/topology.ts'
import { transactionCases } from './conformance/transactions.ts'
import { valueCases } from './conformance/values.ts'

/** What the cases run on. */
export interface ConformanceContext {
  readonly mode: 'http' | 'direct'
  /** One client for all cases that do not need their own. */
  readonly db: FleetShard
  /** A router over two shards with the tables of `schema.ts`. */
  readonly router: TestRouter
  /** Another client of the same mode; the case closes it. */
  readonly connect: (options?: Partial<ConnectOptions>) => Promise<FleetShard>
}

/**
 * Declares every case. `context` is asked when a case runs.
 * @param map where the clients have their map from
 */
export function clientConformance(
  context: () => ConformanceContext,
  map: 'router' | 'file' = 'router',
): void {
  describe('values', () => {
    valueCases(context)
  })
  describe('statements', () => {
    statementCases(context)
  })
  describe('transactions', () => {
    transactionCases(context)
  })
  describe('streams', () => {
    streamCases(context)
  })
  describe('all shards', () => {
    allShardsCases(context)
  })
  describe('idempotency', () => {
    idempotencyCases(context)
  })
  describe('the session', () => {
    sessionCases(context)
  })
  describe('errors', () => {
    errorCases(context)
    if (map === 'router') routerErrorCases(context)
  })
  describe('the shard map', () => {
    topologyCases(context)
    if (map === 'router') liveTopologyCases(context)
  })
}
