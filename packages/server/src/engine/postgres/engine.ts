// The Postgres engine: the port's methods, each on a connection of its own. All the work is in the files beside this.
import { parseLsn } from '@fleetshard/core'
import type { CallBounds, EngineParts, NodeCalls, NodeTarget, ShardEngine } from '../shard-engine.ts'
import { parseSchema } from './ddl/parse-schema.ts'
import { describeTables } from './describe.ts'
import { fenceEmptyTables, findRows } from './fence.ts'
import { claim, readIdentity, release, setEpochMin } from './identity.ts'
import { inspectNode } from './inspect.ts'
import { checkDeclaration } from './rules.ts'
import { applySchema, finishPrepared, listPrepared, prepareSchema } from './schema-change.ts'
import { alignSequences } from './sequences.ts'
import { inSession, inTransaction, openSession, withSession, type Session } from './session.ts'
import { suggestTables } from './suggest.ts'

/** Does no I/O. */
export function createPostgresEngine({ clock }: EngineParts): ShardEngine {
  const on = <T>(
    target: NodeTarget,
    bounds: CallBounds,
    work: (session: Session) => Promise<T>,
  ): Promise<T> => withSession({ clock, target, bounds }, work)
  return {
    name: 'postgres',
    compare(a, b) {
      const difference = parseLsn(a) - parseLsn(b)
      return difference < 0n ? -1 : difference > 0n ? 1 : 0
    },
    async onNode(target, work, bounds = {}) {
      await using session = await openSession({ clock, target, bounds })
      return await work(callsOn(session, bounds))
    },
    inspectNode: (target, bounds = {}) =>
      on(target, bounds, async (session) => (await inspectNode(session)).facts),
    readIdentity: (target, bounds = {}) => on(target, bounds, readIdentity),
    claim: (target, wanted, bounds = {}) => on(target, bounds, (session) => claim(session, wanted)),
    release: (target, shard, bounds = {}) => on(target, bounds, (session) => release(session, shard)),
    setEpochMin: (target, state, bounds = {}) => on(target, bounds, (session) => setEpochMin(session, state)),
    fenceEmptyTables: (request, body, bounds = {}) => fenceEmptyTables(clock, request, body, bounds),
    findRows: (target, tables, bounds = {}) => on(target, bounds, (session) => findRows(session, tables)),
    describeTables: (target, bounds = {}) =>
      on(target, bounds, (session) =>
        inTransaction(session, () => describeTables(session), [
          'begin isolation level repeatable read read only',
        ]),
      ),
    suggestTables,
    checkDeclaration,
    alignSequences: (target, request, bounds = {}) =>
      on(target, bounds, (session) =>
        inTransaction(session, () => alignSequences(session, request.tables, request.sequenceBlock)),
      ),
    parseSchema,
    applySchema: (target, change, options = {}) =>
      on(target, options, (session) => applySchema(session, change, options.gid ?? null)),
    prepareSchema: (target, gid, change, bounds = {}) =>
      on(target, bounds, (session) => prepareSchema(session, gid, change)),
    finishPrepared: (target, gid, decision, bounds = {}) =>
      on(target, bounds, (session) => finishPrepared(session, gid, decision)),
    listPrepared: (target, prefix, bounds = {}) =>
      on(target, bounds, (session) => listPrepared(session, prefix)),
  }
}

function callsOn(session: Session, bounds: CallBounds): NodeCalls {
  const told = <T>(work: () => Promise<T>): Promise<T> => inSession(session, bounds, work)
  let fresh: string | null = null
  return {
    inspect: () =>
      told(async () => {
        const found = await inspectNode(session)
        fresh = found.fresh
        return found.facts
      }),
    claim: (wanted) => told(() => claim(session, wanted, fresh)),
    release: (shard) => told(() => release(session, shard)),
  }
}
