// What must hold before a statement is sent: checks against the map, the shard's state and what its database says.
import { FleetError, type ShardMap, type ShardRecord, type TableRecord } from '@fleetshard/core'
import {
  bareNameOf,
  isNamed,
  keysOf,
  keysOfSlot,
  notConcatenated,
  placeStatement,
  planOf,
  type KnownStatement,
  type Slot,
  type StatementFacts,
} from '../plan/mod.ts'
import { refuseGivenIds } from './allocated-ids.ts'
import type { StatementCall, TransactionCall } from './calls.ts'
import { refuseMoreThanReads, type OnlyReading } from './only-reads.ts'
import { namesCounter } from './recall.ts'
import { mayShareLane, readerIn, widthKey, type SchemaFacts } from './schema-facts.ts'
import type { Session } from './session.ts'

/** @throws FleetError `stale_map` when the session is newer than the map that the statement was placed by */
export function refuseOldMap(session: Session, map: ShardMap): void {
  if (session.epochMin <= map.epoch) return
  throw new FleetError('stale_map', 'the shard map changed while the statement waited')
}

/**
 * After a wait: a router that has told the catalog of a newer map sends nothing that was placed by an older one.
 * @throws FleetError `stale_map`
 */
export function refuseSuperseded({ map: now }: Pick<StatementCall, 'map'>, map: ShardMap): void {
  if (now().epoch === map.epoch) return
  throw new FleetError('stale_map', 'the shard map changed while the statement waited')
}

/** True for what waits while the shard is held: all but reads that may be older. */
export function isHeld(shard: ShardRecord, call: Pick<StatementCall, 'known' | 'consistency'>): boolean {
  if (shard.hold === undefined) return false
  return call.consistency !== 'eventual' || call.known.facts.kind !== 'read'
}

/** @throws FleetError `statement_refused`, `read_only` */
export function refuseAlone(facts: StatementFacts, readOnly: boolean): void {
  if (facts.refusal !== null) {
    throw new FleetError('statement_refused', facts.refusal.reason, { hint: facts.refusal.hint })
  }
  refuseWrite(facts, readOnly)
}

export function refuseInTransaction(facts: StatementFacts, readOnly: boolean): void {
  if (!facts.transactionOnly) refuseAlone(facts, readOnly)
}

function refuseWrite(facts: StatementFacts, readOnly: boolean): void {
  if (!readOnly || facts.kind === 'read' || facts.kind === 'utility') return
  throw new FleetError('read_only', 'the statement writes or takes locks, but options.read_only is set', {
    hint: 'leave out options.read_only',
  })
}

/** @throws FleetError `shard_not_serving` */
export function refuseState(shard: ShardRecord, facts: Pick<StatementFacts, 'kind'>): void {
  if (shard.status === 'active' || shard.status === 'migrating') return
  if (shard.status === 'readonly' && facts.kind === 'read') return
  const why = shard.statusReason === null ? '' : `: ${shard.statusReason}`
  throw new FleetError('shard_not_serving', `shard ${shard.name} is ${shard.status}${why}`, {
    hint: 'fleetshard shard list shows the states',
  })
}

/** What is checked of a statement by what the database says. */
export type CheckedCall = OnlyReading &
  Pick<StatementCall, 'known' | 'params' | 'literals' | 'shardKey' | 'shardId' | 'target'>

/**
 * What a caller that may only read must not do. With several shards: what reaches rows that the statement does not name, and keys that the column would cut.
 * @throws FleetError `shard_key_required`, `statement_refused`, `invalid_shard_key`, `shard_not_serving`,
 * `forbidden`
 */
export function refuseHidden(call: CheckedCall, map: ShardMap, facts: SchemaFacts): void {
  if (call.onlyReads === true) refuseMoreThanReads(call.known.facts, facts)
  if (map.owners.length <= 1) return
  const isFree = !isNamed(call.known, call)
  const reader = isFree || map.hasLeftovers ? readerIn(call.known.facts, facts) : null
  if (reader !== null && !isFree) {
    throw new FleetError('shard_not_serving', `the ${reader} may read rows that have moved away`, {
      hint: 'try again when the job that moves them has ended',
    })
  }
  if (reader !== null) {
    throw new FleetError('shard_key_required', `the ${reader} may read rows of other shards`, {
      hint: 'send shard_key with the statement: it then sees the rows of that shard',
    })
  }
  const target = call.known.facts.tables.find(
    ({ written, name }) => written && facts.indirectTables.has(name),
  )
  if (target !== undefined) {
    throw new FleetError('statement_refused', `a write to ${target.name} reaches the rows of another table`, {
      hint: 'write to the declared table itself, not to a view, a partition or a child of it',
    })
  }
  if (isFree) {
    refuseFreeSequence(call.known, map, facts)
    refuseOwnEquality(call.known, map, facts)
  }
  refuseGivenIds(call.known, map, facts)
  refuseCutKeys(call, map, facts)
}

/** Beside a key the sequence of its shard is asked, and only those of columns count in blocks of their own. */
function refuseFreeSequence(known: KnownStatement, map: ShardMap, { freeSequences }: SchemaFacts): void {
  const [free] = freeSequences
  if (free === undefined || !namesCounter(known.facts) || planOf(known, map).kind !== 'keyed') return
  throw new FleetError(
    'statement_refused',
    `the sequence ${free} is of no column, so each shard would give the same numbers of it`,
    {
      hint: 'ask for the number by a SELECT of its own, or make the sequence the default of a bigint column',
    },
  )
}

/** Keys are inferred by the `=` of Postgres: by another one rows of other keys may be equal as well. */
function refuseOwnEquality(known: KnownStatement, map: ShardMap, { ownEquality }: SchemaFacts): void {
  if (ownEquality.size === 0) return
  const isOwn = keysOf(planOf(known, map)).some(
    ({ table, slots, inserted }) =>
      !inserted && (ownEquality.has('same') || (table.keyType === 'text' && slots.some(isBareNumber))),
  )
  if (!isOwn) return
  throw new FleetError(
    'statement_refused',
    'the database has an operator = or an implicit cast of its own for built-in types, so rows of other keys may be equal',
    { hint: "name the shard with the statement, write a text key as '42', or drop the operator or cast" },
  )
}

const isBareNumber = (slot: Slot): boolean => slot.kind === 'literal' && !slot.quoted && slot.cast === null

/** Code points, as Postgres counts them. */
const characters = (text: string): number => Array.from(text).length

/** Postgres cuts blanks at the end of a text that is too long for its varchar column, and stores another key. */
function refuseCutKeys(call: CheckedCall, map: ShardMap, facts: SchemaFacts): void {
  for (const { table, slots, inserted } of keysOf(planOf(call.known, map))) {
    if (!inserted || table.keyType !== 'text') continue
    for (const slot of slots) {
      for (const key of keysOfSlot(slot, call, 'text')) refuseCutKey(key, table, facts)
    }
  }
}

function refuseCutKey(key: string, table: TableRecord, facts: SchemaFacts): void {
  if (!key.endsWith(' ')) return
  const width = facts.widths.get(widthKey(bareNameOf(table), table.keyColumn ?? ''))
  if (width === undefined || characters(key) <= width) return
  throw new FleetError(
    'invalid_shard_key',
    'the shard key ends with blanks that its column has no room for',
    {
      hint: 'leave out the blanks at its end',
    },
  )
}

/** The one shard of all statements. @throws FleetError as `placeStatement` */
export function placeTogether(call: TransactionCall, map: ShardMap): ShardRecord {
  let shard: ShardRecord | null = null
  const { shardKey, shardId } = call
  for (const { known, params } of call.statements) {
    const request = { shardKey, shardId, params }
    const free = !isNamed(known, request) && map.owners.length > 1 && planOf(known, map).kind === 'any'
    if (free) continue
    const owner = placeStatement(known, map, request)
    if (shard !== null && shard.id !== owner.id) {
      throw new FleetError(
        'cross_shard',
        `the statements concern several shards: ${shard.name} and ${owner.name}`,
        {
          hint: 'send one transaction for each shard',
        },
      )
    }
    shard = owner
  }
  const [first] = call.statements
  if (shard !== null) return shard
  if (first === undefined) throw new FleetError('invalid_request', 'the transaction has no statements')
  const { known, params } = first
  return placeStatement(known, map, { shardKey, shardId, params })
}

/**
 * A part of a statement over all shards: its functions must be ones that look at one row at a time.
 * @throws FleetError `cross_shard`
 */
export function refuseWholeFunctions({ facts }: KnownStatement, schema: SchemaFacts): void {
  const whole = facts.functions.find((name) => schema.aggregates.has(name))
  if (whole !== undefined) throw notConcatenated(`${whole} is an aggregate or a window function`)
  if (mayShareLane(facts, schema)) return
  throw notConcatenated(
    'it uses functions, operators, types or views that are not known to be the same everywhere',
  )
}
