// Declaring tables: existing ones are held to the rules on every shard and recorded; new ones are created by a
// schema job on every shard or on none.
import { randomUUID } from 'node:crypto'
import {
  FleetError,
  parseJobId,
  type JobRecord,
  type KeyspaceSnapshot,
  type ShardId,
  type ShardRecord,
  type TableRecord,
} from '@fleetshard/core'
import type { CreateTables } from '@fleetshard/core/contract'
import {
  newSchemaJobDetail,
  schemaJobType,
  shapeDifference,
  type CheckedDeclaration,
  type SchemaScript,
  type TableDeclaration,
  type TableFacts,
} from '../../../engine/mod.ts'
import { findTable } from '../fleet.ts'
import type { Work } from '../parts.ts'
import { refuseTablesDuringReshard } from '../reshard/guard.ts'
import { primaryOf, refuseIfBusy } from '../shards/fence.ts'
import { refuseDuringSchemaJob } from '../shards/create.ts'
import { targetOf } from '../shards/node-group.ts'
import { declarationOf } from '../shards/prepare-tables.ts'

/** Ended jobs that are kept. */
const jobsKept = 1_000
/** Shards whose tables are read at once. */
const describedAtOnce = 8
/** How long rows of several shards are waited for. */
const lockTimeoutMs = 2_000

/** A declaration as asked for; the name may lack its schema. */
export type AskedTable = Pick<TableDeclaration, 'name' | 'kind' | 'keyColumn'>

/** What a request asks to declare. @throws FleetError `invalid_request` where its fields contradict each other */
export function askedTables(body: CreateTables): readonly AskedTable[] {
  if ((body.name === undefined) === (body.tables === undefined)) {
    throw invalid('give either name or tables', 'name for one table, tables for several')
  }
  if (body.tables !== undefined && (body.kind !== undefined || body.key_column !== undefined)) {
    throw invalid('kind and key_column go into the entries of tables', 'move them there')
  }
  const asked = body.tables ?? [{ ...body, name: body.name ?? '' }]
  const names = new Set(asked.map(({ name }) => name))
  if (names.size < asked.length) throw invalid('a table is named twice', 'name every table once')
  return asked.map(({ name, kind = 'sharded', key_column: keyColumn = null }) => {
    if (kind === 'sharded' && keyColumn === null) {
      throw invalid(`the sharded table ${name} lacks key_column`, 'name the column that decides the shard')
    }
    if (kind !== 'sharded' && keyColumn !== null) {
      throw invalid(`the ${kind} table ${name} cannot have key_column`, 'leave it out, or make it sharded')
    }
    return { name, kind, keyColumn }
  })
}

function invalid(message: string, hint: string): FleetError {
  return new FleetError('invalid_request', message, { hint })
}

/** The tables as recorded, and what people should know about them. */
export interface Declared {
  readonly tables: readonly TableRecord[]
  readonly warnings: readonly string[]
}

/**
 * Records tables that exist on all shards. Where several shards own ranges they must be empty, since a row might lie
 * on a shard that does not own its key.
 * @throws FleetError `schema_refused`, `already_exists`, `conflict`, `not_found`
 */
export async function declareExisting(
  work: Work,
  keyspace: KeyspaceSnapshot['keyspace']['name'],
  asked: readonly AskedTable[],
): Promise<Declared> {
  const { parts, signal } = work
  return parts.mutex.run(keyspace, signal, async () => {
    refuseDuringSchemaJob(work, keyspace)
    refuseTablesDuringReshard(work, keyspace)
    const { snapshot } = await parts.routing.base(keyspace, signal)
    const owners = ownersOf(snapshot)
    refuseDeclared(
      snapshot,
      asked.map(({ name }) => name),
    )
    const found = await describeAll(work, owners)
    const checked = checkEverywhere(work, snapshot, asked, found)
    await alignEverywhere(
      work,
      owners,
      checked.map(({ declaration }) => declaration.name),
    )
    const records = recordsOf(work, snapshot, checked, owners)
    const tables = await recordTables(work, snapshot, owners, records)
    return { tables, warnings: warningsOf(checked, found) }
  })
}

/** @throws FleetError `conflict` for a keyspace without shards */
function ownersOf({ keyspace, shards }: KeyspaceSnapshot): readonly ShardRecord[] {
  const owners = shards
    .filter(({ vnodes }) => vnodes !== '')
    .toSorted((a, b) => a.sequenceBlock - b.sequenceBlock)
  if (owners.length > 0) return owners
  throw new FleetError('conflict', `the keyspace ${keyspace.name} has no shard yet`, {
    hint: 'create one first: fleetshard shard create',
    retryable: false,
  })
}

function refuseDeclared(snapshot: KeyspaceSnapshot, names: readonly string[]): void {
  const known = names.find((name) => findTable(snapshot, name) !== null)
  if (known === undefined) return
  throw new FleetError(
    'already_exists',
    `the table ${known} is declared in ${snapshot.keyspace.name} already`,
    {
      hint: 'undeclare it first to declare it otherwise: fleetshard table delete',
    },
  )
}

/** What a shard has. */
interface ShardTables {
  readonly shard: ShardId
  readonly tables: readonly TableFacts[]
}

async function describeAll(work: Work, shards: readonly ShardRecord[]): Promise<readonly ShardTables[]> {
  const found: ShardTables[] = []
  for (let from = 0; from < shards.length; from += describedAtOnce) {
    const some = shards.slice(from, from + describedAtOnce).map(async (shard) => {
      const target = await targetOf(work.parts, primaryOf(shard), work.signal)
      return { shard: shard.id, tables: await work.engine.describeTables(target, { signal: work.signal }) }
    })
    found.push(...(await Promise.all(some)))
  }
  return found
}

function checkEverywhere(
  work: Work,
  snapshot: KeyspaceSnapshot,
  asked: readonly AskedTable[],
  found: readonly ShardTables[],
): readonly CheckedDeclaration[] {
  const [first] = found
  const named = asked.map((one): TableDeclaration => ({ ...one, name: factsOf(first, one.name).name }))
  const known = [...snapshot.tables.map(declarationOf), ...named]
  return named.map((declaration) => {
    const declared = known.filter(({ name }) => name !== declaration.name)
    const [model, ...others] = found.map((shard) => {
      const facts = factsOf(shard, declaration.name)
      return {
        shard: shard.shard,
        facts,
        checked: work.engine.checkDeclaration(facts, declaration, declared),
      }
    })
    if (model === undefined) throw new FleetError('internal', 'a keyspace without shards')
    for (const { shard, facts } of others) refuseUnlike(model.facts, facts, [model.shard, shard])
    return model.checked
  })
}

/** @throws FleetError `schema_refused` where a statement could mean different things on the two shards */
function refuseUnlike(one: TableFacts, other: TableFacts, shards: readonly [ShardId, ShardId]): void {
  const difference = shapeDifference(one, other, shards)
  if (difference === null) return
  throw new FleetError('schema_refused', `${one.name} is not alike on all shards: ${difference}`, {
    hint: 'make the tables alike on every shard, then declare them',
  })
}

/** A table by its qualified name, or its bare name in `public`. @throws FleetError `schema_refused` */
function factsOf(shard: ShardTables | undefined, name: string): TableFacts {
  const tables = shard?.tables ?? []
  const facts =
    tables.find((table) => table.name === name) ??
    tables.find(
      (table) => table.schema === 'public' && (table.relation === name || table.name === `public.${name}`),
    )
  if (facts !== undefined) return facts
  throw new FleetError('schema_refused', `there is no table ${name} on shard ${shard?.shard ?? ''}`, {
    hint: 'create it on every shard at once: fleetshard table create -f schema.sql; views and system tables are not declared',
  })
}

async function alignEverywhere(
  work: Work,
  shards: readonly ShardRecord[],
  tables: readonly string[],
): Promise<void> {
  const { parts, engine, signal } = work
  for (const shard of shards) {
    const target = await targetOf(parts, primaryOf(shard), signal)
    await engine.alignSequences(target, { tables, sequenceBlock: shard.sequenceBlock }, { signal })
  }
}

function recordsOf(
  work: Work,
  snapshot: KeyspaceSnapshot,
  checked: readonly CheckedDeclaration[],
  owners: readonly ShardRecord[],
): readonly TableRecord[] {
  const now = work.parts.clock.now()
  return checked.map(({ declaration, keyType }, index) => ({
    keyspace: snapshot.keyspace.name,
    name: declaration.name,
    kind: declaration.kind,
    keyColumn: declaration.keyColumn,
    keyType,
    homeShard: declaration.kind === 'global' ? (owners[0]?.id ?? null) : null,
    ddl: null,
    version: 1,
    createdAt: new Date(now + index).toISOString(),
  }))
}

async function recordTables(
  work: Work,
  snapshot: KeyspaceSnapshot,
  owners: readonly ShardRecord[],
  records: readonly TableRecord[],
): Promise<readonly TableRecord[]> {
  const { parts, change } = work
  const record = async (signal: AbortSignal): Promise<readonly TableRecord[]> => {
    const made = await parts.catalog.tables.create(records, { conditions: [change.condition], signal })
    return made.map((stored) => stored.record)
  }
  if (owners.length === 1) return record(work.signal)
  const shards = await Promise.all(
    owners.map(async (shard) => ({
      shard: shard.id,
      target: await targetOf(parts, primaryOf(shard), work.signal),
    })),
  )
  const tables = records.map(({ name }) => name)
  const box: { made: readonly TableRecord[] } = { made: [] }
  const result = await work.engine.fenceEmptyTables(
    { shards, tables, epochMin: snapshot.epoch, lockTimeoutMs },
    {
      // The shards have that epoch already, so there is nothing to make up for.
      announce: () => Promise.resolve(null),
      change: async (signal) => {
        box.made = await record(signal)
        return 'committed'
      },
    },
    { signal: work.signal },
  )
  if (result.kind === 'not-empty') {
    throw new FleetError('schema_refused', `${result.table} holds rows on shard ${result.shard}`, {
      hint: 'with several shards, declare tables while they are empty; to bring in a filled database use adopt',
    })
  }
  refuseIfBusy(result)
  return box.made
}

function warningsOf(checked: readonly CheckedDeclaration[], [first]: readonly ShardTables[]): string[] {
  return checked.flatMap(({ declaration: { name, keyColumn } }) => {
    if (keyColumn === null) return []
    const column = factsOf(first, name).columns.find((one) => one.name === keyColumn)
    if (column === undefined || column.notNull) return []
    return [`${name}.${keyColumn} may be null, and NULL has no shard: make it NOT NULL`]
  })
}

/**
 * Writes the schema job that creates the tables.
 * @throws FleetError `sql_syntax`, `schema_refused`, `already_exists`, `conflict`
 */
export async function submitSchema(
  work: Work,
  keyspace: KeyspaceSnapshot['keyspace']['name'],
  asked: readonly AskedTable[],
  ddl: string,
): Promise<JobRecord> {
  const { parts, signal } = work
  const script = await work.engine.parseSchema(ddl)
  const declarations = declarationsOf(script, asked)
  return parts.mutex.run(keyspace, signal, async () => {
    refuseDuringSchemaJob(work, keyspace)
    refuseTablesDuringReshard(work, keyspace)
    const { snapshot } = await parts.routing.base(keyspace, signal)
    ownersOf(snapshot)
    refuseDeclared(
      snapshot,
      declarations.map(({ name }) => name),
    )
    const job: JobRecord = {
      id: parseJobId(`schema-${randomUUID()}`),
      type: schemaJobType,
      keyspace,
      status: 'pending',
      state: 'planned',
      progress: 0,
      detail: newSchemaJobDetail({ ddl, declarations }),
      errorCode: null,
      errorMessage: null,
      version: 1,
      createdAt: new Date(parts.clock.now()).toISOString(),
      startedAt: null,
      completedAt: null,
      ...work.change.traced,
    }
    const { record } = await parts.catalog.jobs.create(job, { conditions: [work.change.condition], signal })
    // Under the mutex: no change of the keyspace may begin before the live copy shows the job.
    if (!(await parts.fleet.shown(({ jobs }) => jobs.has(record.id)))) parts.fleet.expectJob(record)
    await parts.catalog.jobs.prune(jobsKept, signal).catch(() => 0)
    return record
  })
}

/** Every table that the script makes must be declared, and the other way round. */
function declarationsOf(
  { creates }: SchemaScript,
  asked: readonly AskedTable[],
): readonly TableDeclaration[] {
  const declarations = asked.map((one): TableDeclaration => {
    const name = [one.name, `public.${one.name}`, `public."${one.name}"`].find((text) =>
      creates.includes(text),
    )
    if (name !== undefined) return { ...one, name }
    const made = creates.length === 0 ? 'no table' : creates.slice(0, 10).join(', ')
    throw new FleetError('schema_refused', `the statements do not create ${one.name}; they create ${made}`, {
      hint: 'name the tables as the statements do',
    })
  })
  const undeclared = creates.find((name) => !declarations.some((one) => one.name === name))
  if (undeclared === undefined) return declarations
  throw new FleetError(
    'schema_refused',
    `the statements create ${undeclared}, which the request does not declare`,
    {
      hint: 'declare every table that the statements create, in tables',
    },
  )
}
