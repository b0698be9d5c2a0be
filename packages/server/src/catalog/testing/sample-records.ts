// Records for the catalog's tests.
import {
  parseJobId,
  parseKeyspaceName,
  parseNodeId,
  parseRouterId,
  parseShardId,
  parseTerm,
  type JobRecord,
  type KeyspaceName,
  type KeyspaceRecord,
  type RouterRecord,
  type ShardRecord,
  type TableRecord,
} from '@fleetshard/core'

const createdAt = '2025-01-01T00:00:00.000Z'

/** The keyspace of most tests. */
export const app: KeyspaceName = parseKeyspaceName('app')

export function sampleKeyspace(name: string = app): KeyspaceRecord {
  return {
    name: parseKeyspaceName(name),
    engine: 'postgres',
    hash: 'murmur3',
    strategy: 'ring',
    defaultConsistency: 'strong',
    nextSequenceBlock: 0,
    version: 1,
    createdAt,
  }
}

/** @param vnodes how many tokens it has */
export function sampleShard(id: string, keyspace: KeyspaceName = app, vnodes = 1): ShardRecord {
  const node = (n: number, role: 'primary' | 'replica') => ({
    id: parseNodeId(`${id}-n${n}`),
    role,
    host: '10.20.30.40',
    port: 5432,
    database: 'app',
    user: 'fleetshard',
    secretRef: `catalog:nodes/${id}`,
    tls: 'require' as const,
    region: 'eu-central-1',
    zone: 'a',
    agent: null,
  })
  return {
    id: parseShardId(id),
    name: id,
    keyspace,
    status: 'active',
    statusReason: null,
    version: 1,
    term: parseTerm(1),
    vnodes: Buffer.alloc(vnodes * 8, id).toString('base64'),
    nodes: [node(0, 'primary'), node(1, 'replica')],
    sequenceBlock: 0,
    createdAt,
  }
}

export function sampleTable(name: string, keyspace: KeyspaceName = app): TableRecord {
  return {
    keyspace,
    name,
    kind: 'sharded',
    keyColumn: 'id',
    keyType: 'int8',
    homeShard: null,
    ddl: null,
    version: 1,
    createdAt,
  }
}

export function sampleJob(id: string, changes: Partial<JobRecord> = {}): JobRecord {
  return {
    id: parseJobId(id),
    type: 'schema',
    keyspace: app,
    status: 'pending',
    state: 'new',
    progress: 0,
    detail: { statements: ['create table t ()'] },
    errorCode: null,
    errorMessage: null,
    version: 1,
    createdAt,
    startedAt: null,
    completedAt: null,
    ...changes,
  }
}

export function sampleRouter(id: string): RouterRecord {
  return {
    id: parseRouterId(id),
    host: 'router.example',
    httpPort: 8080,
    pid: 1,
    version: '0.1.0',
    region: null,
    zone: null,
    ackedEpochs: {},
    startedAt: createdAt,
  }
}
