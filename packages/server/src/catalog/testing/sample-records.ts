// Records for the catalog's tests.
import {
  parseJobId,
  parseKeyspaceName,
  parseNodeId,
  parseRouterId,
  type JobRecord,
  type KeyspaceName,
  type KeyspaceRecord,
  type RouterRecord,
  type ShardRecord,
  type TableRecord,
} from '@fleetshard/core'
import { testShard, testTable } from '@fleetshard/core/testing'

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
  return testShard(id, {
    keyspace,
    vnodes: Buffer.alloc(vnodes * 8, id).toString('base64'),
    nodes: [node(0, 'primary'), node(1, 'replica')],
  })
}

export const sampleTable = (name: string, keyspace: KeyspaceName = app): TableRecord =>
  testTable(name, { keyspace, keyType: 'int8' })

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
