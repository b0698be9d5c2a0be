// A shard engine over databases in memory, for fast tests of the manager: identities, tables, rows and locks behave
// as the port says; the tests with real servers hold the manager to the real engine.
import { FleetError, parseEpoch, type ShardId } from '@fleetshard/core'
import type {
  FenceBodyOutcome,
  FenceResult,
  NodeFacts,
  NodeTarget,
  ShardEngine,
  ShardIdentity,
  TableDeclaration,
  TableFacts,
} from '../../../engine/mod.ts'

/** One database in memory. Tests change its fields as operators would change a real one. */
export interface SimulatedDatabase {
  isReachable: boolean
  inRecovery: boolean
  readOnly: boolean
  systemId: string
  versionNumber: number
  password: string | null
  identity: ShardIdentity | null
  /** Names of its tables, with how many rows each has. */
  readonly tables: Map<string, number>
  /** A writer holds a lock on some table. */
  isBusy: boolean
  /** Statements that schema changes ran. */
  readonly statements: string[]
  /** For a replica: shows what this one holds. */
  upstream: SimulatedDatabase | null
}

/** The engine and its databases. */
export interface Simulation {
  readonly engine: ShardEngine
  /** The database at `host:port/name`; made when it is asked for first. */
  database(address: string): SimulatedDatabase
  /** How often a database was connected to. */
  connections(): number
  /** Runs inside every fence, before its body. */
  onFence: (() => Promise<void>) | null
}

/** No database exists. */
export function simulate(): Simulation {
  const databases = new Map<string, SimulatedDatabase>()
  let connections = 0
  const simulation: Simulation = {
    engine: undefined as unknown as ShardEngine,
    onFence: null,
    connections: () => connections,
    database(address) {
      const known = databases.get(address) ?? freshDatabase(String(databases.size + 1))
      databases.set(address, known)
      return known
    },
  }
  const connect = (target: NodeTarget): SimulatedDatabase => {
    connections += 1
    const found = databases.get(`${target.host}:${String(target.port)}/${target.database}`)
    if (found?.isReachable !== true) {
      throw new FleetError('shard_unavailable', `${target.host}:${String(target.port)} cannot be reached`)
    }
    if (found.password !== null && found.password !== target.password) {
      throw new FleetError('node_check_failed', `the login of ${target.user} was refused`)
    }
    return found
  }
  Object.assign(simulation, { engine: withOnNode(connect, simulation) })
  return simulation
}

function freshDatabase(systemId: string): SimulatedDatabase {
  return {
    isReachable: true,
    inRecovery: false,
    readOnly: false,
    systemId,
    versionNumber: 180_004,
    password: null,
    identity: null,
    tables: new Map(),
    isBusy: false,
    statements: [],
    upstream: null,
  }
}

type Connect = (target: NodeTarget) => SimulatedDatabase

type Calls = Omit<ShardEngine, 'onNode'>

function withOnNode(connect: Connect, simulation: Simulation): ShardEngine {
  const onNode: ShardEngine['onNode'] = async (target, work) => {
    const database = connect(target)
    const node = engineOver(() => database, simulation)
    return work({
      inspect: () => node.inspectNode(target),
      claim: (wanted) => node.claim(target, wanted),
      release: (shard) => node.release(target, shard),
    })
  }
  return { ...engineOver(connect, simulation), onNode }
}

function engineOver(connect: Connect, simulation: Simulation): Calls {
  return {
    name: 'postgres',
    compare: (a, b) => (a < b ? -1 : a > b ? 1 : 0),
    inspectNode: async (target) => factsOf(connect(target), target),
    readIdentity: async (target) => shown(connect(target)).identity,
    claim: async (target, claim) => {
      const database = connect(target)
      const { identity } = database
      if (identity !== null && (identity.shard !== claim.shard || identity.cluster !== claim.cluster)) {
        throw new FleetError('wrong_database', `the database belongs to shard ${identity.shard}`)
      }
      if (identity !== null && identity.sequenceBlock !== claim.sequenceBlock) {
        throw new FleetError('wrong_database', 'the sequence block is another')
      }
      database.identity = { ...claim }
      return database.identity
    },
    release: async (target, shard) => {
      const database = connect(target)
      if (database.identity === null) return false
      if (database.identity.shard !== shard) throw new FleetError('wrong_database', 'another shard has it')
      database.identity = null
      return true
    },
    setEpochMin: async (target, { shard, epochMin }) => raiseEpoch(connect(target), shard, epochMin),
    fenceEmptyTables: async (request, body, bounds) => {
      const fenced = request.shards.map(({ shard, target }) => ({ shard, database: connect(target) }))
      for (const { shard, database } of fenced) {
        if (database.isBusy) return { kind: 'busy', shard, reason: 'a writer holds a lock' }
        const table = request.tables.find((name) => (database.tables.get(name) ?? 0) > 0)
        if (table !== undefined) return { kind: 'not-empty', shard, table }
      }
      const signal = bounds?.signal ?? new AbortController().signal
      await body.announce(signal)
      for (const { shard, database } of fenced) raiseEpoch(database, shard, request.epochMin)
      await simulation.onFence?.()
      return fenceResultOf(await body.change(signal))
    },
    findRows: async (target, names) => {
      const database = connect(target)
      return names.find((name) => (database.tables.get(name) ?? 0) > 0) ?? null
    },
    describeTables: async (target) => [...connect(target).tables.keys()].map(tableFacts),
    suggestTables: (tables) =>
      tables.map(({ name }) => ({
        table: name,
        kind: 'sharded',
        keyColumn: 'user_id',
        keyType: 'text',
        reason: 'user_id is unique',
        obstacle: null,
      })),
    checkDeclaration,
    alignSequences: async () => undefined,
    parseSchema: async (sql) => {
      const creates = [...sql.matchAll(/create table (\w+)/gi)].map(([, name]) => `public.${name ?? ''}`)
      return { statements: [{ sql, kind: 'CREATE TABLE', tables: creates }], creates }
    },
    applySchema: async (target, change) => {
      const database = connect(target)
      database.statements.push(...change.statements)
      for (const { name } of change.declarations) database.tables.set(name, 0)
      return { checked: change.declarations.map((one) => checkDeclaration(tableFacts(one.name), one)) }
    },
    prepareSchema: async () => null,
    finishPrepared: async () => 'absent',
    listPrepared: async () => [],
  }
}

/** A replica shows what its primary holds. */
const shown = (database: SimulatedDatabase): SimulatedDatabase => database.upstream ?? database

const fenceResultOf = (outcome: FenceBodyOutcome): FenceResult =>
  outcome === 'conflict' ? { kind: 'conflict' } : { kind: 'fenced', outcome }

function raiseEpoch(database: SimulatedDatabase, shard: ShardId, epochMin: number): ShardIdentity {
  const { identity } = database
  if (identity?.shard !== shard) throw new FleetError('wrong_database', `the database is not of ${shard}`)
  const raised = { ...identity, epochMin: parseEpoch(Math.max(identity.epochMin, epochMin)) }
  database.identity = raised
  return raised
}

function factsOf(database: SimulatedDatabase, target: NodeTarget): NodeFacts {
  return {
    version: '18.4',
    versionNumber: database.versionNumber,
    inRecovery: database.inRecovery,
    readOnly: database.readOnly,
    systemId: database.systemId,
    database: { name: target.database, oid: 5, encoding: 'UTF8' },
    timeline: 1,
    position: null,
    walLevel: 'logical',
    preparedTransactionsMax: 20,
    connectionsMax: 100,
    upstream: null,
    mayCreate: true,
    superuser: false,
    identity: shown(database).identity,
  }
}

function checkDeclaration(table: TableFacts, declaration: TableDeclaration) {
  const { keyColumn } = declaration
  if (keyColumn !== null && !table.columns.some(({ name }) => name === keyColumn)) {
    throw new FleetError('schema_refused', `${table.name} has no column ${keyColumn}`)
  }
  return { declaration, keyType: keyColumn === null ? null : ('text' as const) }
}

function tableFacts(name: string): TableFacts {
  const [schema = 'public', relation = name] = name.split('.')
  return {
    name,
    schema,
    relation,
    kind: 'table',
    unlogged: false,
    parent: null,
    columns: [
      {
        name: 'user_id',
        type: 'text',
        baseType: 'text',
        isDomain: false,
        notNull: true,
        collation: null,
        identity: null,
        generated: false,
        defaultExpression: null,
        sequence: null,
      },
    ],
    uniques: [],
    foreignKeys: [],
    lookups: [],
    triggers: [],
    hasRules: false,
    rowsEstimate: null,
    bytes: 8192,
  }
}
