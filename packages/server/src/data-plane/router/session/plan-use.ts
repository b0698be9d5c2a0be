// Where one use of a statement goes, and what it asks of its connection: decided by the plan, the values, the session's
// own settings, and what the shard's database says.
import { FleetError, type ShardMap, type ShardRecord, type TableRecord } from '@fleetshard/core'
import {
  isSystemName,
  keyParametersOf,
  meetingIn,
  noTarget,
  placeStatement,
  refuseLeftovers,
  planOf,
  slotKey,
  tableNamesOf,
  targetOf,
  undeclaredTable,
  WireParameter,
  type KeyParameter,
  type KnownStatement,
  type Literals,
  type NamedTable,
  type Plan,
  type RouteTarget,
  type StatementFacts,
} from '@fleetshard/routing/plan'
import {
  checkKeyTypes,
  leftBy,
  mayCount,
  mayShareLane,
  mayWrite,
  readerIn,
  refuseHidden,
  refuseState,
  remembers,
  type SchemaFacts,
} from '@fleetshard/routing/execute'
import type { BindMessage } from './bind-message.ts'
import { bindsSession, refuseCommand } from './effects.ts'
import type { Leftover } from './server-side.ts'
import { targetOfSession, type Variables } from './variables.ts'
import type { WireStatement } from './wire-statements.ts'

/** A statement with what decides its shard. */
export interface Use {
  readonly known: KnownStatement
  /** The text that is sent. */
  readonly text: string
  /** Of a Query: its literals, and the hint in its comments. */
  readonly literals: Literals | null
  readonly hint: RouteTarget
  /** Of a Bind: its parameters, and their types as a server has told them. */
  readonly bind: BindMessage | null
  readonly types: readonly number[]
  /** The same as the servers know it; null for one of a Query. */
  readonly wire: WireStatement | null
}

/** Commands that go to wherever their transaction is, whatever has been set in it. */
const bounds: ReadonlySet<string> = new Set(['commit', 'rollback', 'savepoint', 'release', 'rollback-to'])

/** Where the session's settings send these statements. @throws FleetError when the settings contradict each other */
export const targetOfWork = (variables: Variables, uses: readonly Use[]): RouteTarget =>
  uses.every(({ known }) => bounds.has(known.facts.command.kind)) ? noTarget : targetOfSession(variables)

/** Where a use goes. */
export interface Placed {
  readonly use: Use
  /** Null where every shard gives the same answer. */
  readonly shard: ShardRecord | null
}

/** What a statement does by the names of a database. */
export interface Traits {
  readonly shares: boolean
  readonly writes: boolean
  readonly left: Leftover
  /** Its connection may remember a number of a sequence after it. */
  readonly counts: boolean
  /** The same by what the database says of the tables. */
  readonly remembers: boolean
  /** The connection must stay with the session. */
  readonly binds: boolean
  /** A write that a table answers as it is written: without rows of a rule, or code that may look at its text. */
  readonly preparable: boolean
  /** A read that names all the rows it sees, so that nothing of it can be hidden from the plan. */
  readonly showsAll: boolean
}

const traits = new WeakMap<SchemaFacts, WeakMap<KnownStatement, Traits>>()

/** Made once a statement and set of names. */
export function traitsOf(known: KnownStatement, schema: SchemaFacts): Traits {
  let ofSchema = traits.get(schema)
  if (ofSchema === undefined) traits.set(schema, (ofSchema = new WeakMap()))
  let kept = ofSchema.get(known)
  if (kept === undefined) {
    kept = {
      shares: mayShareLane(known.facts, schema) && known.facts.command.kind === 'rows',
      writes: mayWrite(known.facts, schema),
      counts: mayCount(known.facts) || (known.facts.kind === 'read' && mayWrite(known.facts, schema)),
      remembers: remembers(known.facts, schema),
      left: leftBy(known.facts, schema),
      binds: bindsSession(known.facts, schema),
      preparable:
        known.facts.plainNumbers > 0 &&
        leftBy(known.facts, schema) === 'nothing' &&
        known.facts.tables.every(({ name }) => schema.plainTables.has(name)),
      showsAll:
        known.facts.kind === 'read' &&
        !mayCount(known.facts) &&
        schema.ownEquality.size === 0 &&
        readerIn(known.facts, schema) === null,
    }
    ofSchema.set(known, kept)
  }
  return kept
}

const keyParameters = new WeakMap<Plan, readonly KeyParameter[]>()

/** The parameters that decide the shard; none where there is nothing to decide. Made once a plan. */
function keysIn(known: KnownStatement, map: ShardMap): readonly KeyParameter[] {
  if (map.owners.length <= 1) return []
  const plan = planOf(known, map)
  let keys = keyParameters.get(plan)
  if (keys === undefined) keyParameters.set(plan, (keys = keyParametersOf(plan)))
  return keys
}

/** True when the parameters of the statement must be known by type before it can be placed. */
export function wantsTypes(known: KnownStatement, map: ShardMap): boolean {
  return keysIn(known, map).length > 0
}

/**
 * Places one use.
 * @param session where the session's settings send statements
 * @throws FleetError as `placeStatement`; `statement_refused`
 */
export function place(use: Use, map: ShardMap, session: RouteTarget): Placed {
  const { known } = use
  const isSharded = map.owners.length > 1
  const { facts } = known
  refuseCommand(facts, isSharded)
  const target = targetOf(use.hint.kind === 'none' ? known.hint : use.hint, session)
  if (isSharded && facts.command.kind === 'utility' && facts.refusal !== null) {
    throw new FleetError('statement_refused', facts.refusal.reason, { hint: facts.refusal.hint })
  }
  if (isSharded && facts.command.kind === 'copy' && facts.command.table !== null) {
    return { use, shard: placeCopy(facts.command.table, { direction: facts.command.direction, target, map }) }
  }
  if (isSharded && target.kind === 'none') {
    const isAnywhere = planOf(known, map).kind === 'any' || readsCatalogsOnly(facts, map)
    if (isAnywhere) return { use, shard: null }
  }
  const shard = placeStatement(known, map, {
    params: parametersOf(use, map),
    literals: use.literals ?? undefined,
    target,
  })
  if (facts.command.kind === 'rows') refuseState(shard, facts)
  return { use, shard }
}

/**
 * True for what drivers and psql ask about types and tables: the schema is the same on every shard. Names without a
 * schema are looked up in pg_catalog first.
 */
function readsCatalogsOnly(facts: StatementFacts, map: ShardMap): boolean {
  const { kind, tables } = facts
  if (kind !== 'read' || tables.length === 0 || meetingIn(facts, false) !== null) return false
  const names = tableNamesOf(map)
  return tables.every((table) => isSystemName(table) && names.find(table) === null)
}

/**
 * The shard of COPY with a table. The router does not look into the rows: one with the key of another shard would be
 * lost, so that rows of sharded tables are only given out, and only those of a shard that is named.
 */
function placeCopy(
  table: NamedTable,
  { direction, target, map }: { direction: 'in' | 'out'; target: RouteTarget; map: ShardMap },
): ShardRecord | null {
  const declared = tableNamesOf(map).find(table)
  if (declared?.kind === 'global') return homeOf(declared, map)
  if (direction === 'in') {
    throw new FleetError('statement_refused', `COPY into ${table.name}, whose rows lie on several shards`, {
      hint: 'send INSERT statements, each with its key; many of them in one transaction are fast',
    })
  }
  if (declared?.kind === 'reference' && target.kind === 'none') return null
  const shard = namedShard(target, map)
  refuseLeftovers(shard)
  return shard
}

function homeOf({ homeShard }: TableRecord, map: ShardMap): ShardRecord | null {
  return (homeShard === null ? undefined : map.shards.get(homeShard)) ?? null
}

function namedShard(target: RouteTarget, map: ShardMap): ShardRecord {
  if (target.kind === 'key') {
    const type = map.keyType ?? 'text'
    return map.shardFor(slotKey(target.key, type), type)
  }
  if (target.kind === 'shard') {
    for (const shard of map.shards.values())
      if (shard.id === target.shard || shard.name === target.shard) return shard
    throw new FleetError('not_found', `the keyspace has no shard ${JSON.stringify(target.shard)}`, {
      hint: 'fleetshard shard list shows the shards',
    })
  }
  throw new FleetError('shard_key_required', 'COPY does not say which shard it is about', {
    hint: "SET fleetshard.shard = '…' names one; copy each in turn",
  })
}

/** Those that decide the shard; the others are not looked at. */
function parametersOf({ known, bind, types }: Use, map: ShardMap): readonly unknown[] {
  if (bind === null) return []
  const keys = keysIn(known, map)
  if (keys.length === 0) return []
  const params: unknown[] = []
  for (const { index } of keys) {
    const value = bind.parameter(index)
    if (value === undefined) continue
    params[index] = new WireParameter({
      bytes: value.bytes,
      format: value.format === 1 ? 'binary' : 'text',
      typeOid: types[index] ?? 0,
    })
  }
  return params
}

/**
 * What can only be checked with the names of the shard's database.
 * @throws FleetError `table_not_declared`, `statement_refused`, `invalid_shard_key`
 */
export function check(
  { use, shard }: Placed,
  map: ShardMap,
  schema: SchemaFacts,
  session: RouteTarget,
): void {
  if (map.owners.length <= 1) return
  const { known } = use
  if (shard === null && planOf(known, map).kind !== 'any') {
    // A table of the user's may be named like those of the system.
    const other = known.facts.tables.find(({ name }) => !schema.systemTables.has(name))
    if (other !== undefined) {
      throw new FleetError('table_not_declared', undeclaredTable(other))
    }
  }
  if (!traitsOf(known, schema).showsAll) {
    const target = targetOf(use.hint.kind === 'none' ? known.hint : use.hint, session)
    const { literals } = use
    const params = parametersOf(use, map)
    refuseHidden({ known, params, literals: literals ?? undefined, target }, map, schema)
  }
  if (use.bind !== null) checkKeyTypes(keysIn(known, map), use.types, schema.domains)
}
