// What a replica tells, and what may not be done to it: one primary with one replica.
import { parseEpoch, parseShardId } from '@fleetshard/core'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { LocalServer } from '../../local/mod.ts'
import { startTestCluster, type TestCluster } from '../../local/testing.ts'
import type { NodeTarget } from '../shard-engine.ts'
import { parseShardState } from '@fleetshard/routing/shard-state'
import { checkShardState, claimOf, testEngine } from './testing.ts'

function targetOf({ node, password }: LocalServer): NodeTarget {
  const { host, port, database, user, tls } = node
  return { host, port, database, user, tls, password }
}

describe('a replica', () => {
  let cluster: TestCluster
  let primary: NodeTarget
  let replica: NodeTarget

  beforeAll(async () => {
    cluster = await startTestCluster({ shards: 1, replicas: 1, catalog: false })
    const [group] = cluster.groups()
    const [follower] = group?.replicas ?? []
    if (group === undefined || follower === undefined) throw new Error('a primary and a replica')
    primary = targetOf(group.primary)
    replica = targetOf(follower)
    await testEngine.claim(primary, claimOf('a'))
  })
  afterAll(() => cluster[Symbol.asyncDispose]())

  /** Until the replica has replayed what the primary has written so far. */
  async function replayed(): Promise<void> {
    const { position } = await testEngine.inspectNode(primary)
    if (position === null) throw new Error('no position')
    for (;;) {
      const now = (await testEngine.inspectNode(replica)).position
      if (now !== null && testEngine.compare(now, position) >= 0) return
    }
  }

  it('tells that it is one, of which system and on which timeline', async () => {
    await replayed()
    const [one, other] = await Promise.all([testEngine.inspectNode(primary), testEngine.inspectNode(replica)])
    expect(one).toMatchObject({ inRecovery: false, upstream: null })
    expect(other).toMatchObject({
      inRecovery: true,
      systemId: one.systemId,
      timeline: one.timeline,
      identity: one.identity,
    })
    expect(other.identity?.shard).toBe('a')
  })

  it('is not claimed, released or fenced: that is for its primary', async () => {
    await replayed()
    await expect(testEngine.claim(replica, claimOf('a'))).rejects.toMatchObject({
      code: 'node_check_failed',
      message: expect.stringContaining('is a replica') as string,
    })
    const shard = parseShardId('a')
    const refused = { code: 'node_check_failed', hint: expect.stringContaining('give the primary') as string }
    await expect(testEngine.release(replica, shard)).rejects.toMatchObject(refused)
    await expect(testEngine.setEpochMin(replica, { shard, epochMin: parseEpoch(9) })).rejects.toMatchObject(
      refused,
    )
    const request = {
      shards: [{ shard, target: replica }],
      tables: [],
      epochMin: parseEpoch(9),
      lockTimeoutMs: 50,
    }
    const no = (): Promise<never> => Promise.reject(new Error('must not run'))
    await expect(testEngine.fenceEmptyTables(request, { announce: no, change: no })).rejects.toMatchObject(
      refused,
    )
  })

  it('answers the check of a router', async () => {
    await replayed()
    const { host, port, database, user, password } = replica
    const client = new Client({ host, port, database, user, password: () => password ?? '' })
    await client.connect()
    try {
      expect(parseShardState(await checkShardState(client))).toEqual(claimOf('a'))
    } finally {
      await client.end()
    }
  })
})
