// Deleting a shard: only one that owns nothing, or that can be fenced while it holds no row. Its database gets its
// identity taken away; embedded servers go when they are empty.
import {
  FleetError,
  type KeyspaceSnapshot,
  type NodeRecord,
  type ShardRecord,
  type TableRecord,
} from '@fleetshard/core'
import type { PlanRouting, StoredKeyspace } from '../../../catalog/mod.ts'
import type { Work } from '../parts.ts'
import { refuseShardDuringReshard } from '../reshard/guard.ts'
import { refuseDuringSchemaJob } from './create.ts'
import { changeFenced, primaryOf } from './fence.ts'
import { targetOf } from './node-group.ts'
import { auditView, checkVersion } from './patch.ts'

/**
 * Deletes a shard. Its ranges, if it owns any, fall to their successors on the ring.
 * @throws FleetError `not_found`, `version_mismatch`, `conflict` (it holds rows, or is busy), `shard_unavailable`
 */
export async function removeShard(work: Work, id: string, ifMatch: number | null): Promise<StoredKeyspace> {
  const { parts } = work
  const found = parts.fleet.shard(id)
  checkVersion(found.shard, ifMatch)
  const { shard, stored } = await parts.mutex.run(found.shard.keyspace, work.signal, async () => {
    refuseDuringSchemaJob(work, found.shard.keyspace)
    refuseShardDuringReshard(work, found.shard)
    const { snapshot } = await parts.routing.base(found.shard.keyspace, work.signal)
    const now = snapshot.shards.find((one) => one.id === found.shard.id)
    if (now === undefined) throw new FleetError('not_found', `there is no shard ${id}`)
    checkVersion(now, ifMatch)
    refuseWhileNeeded(snapshot, now)
    work.change.before(auditView(now))
    return { shard: now, stored: await commit(work, snapshot, now) }
  })
  await cleanUp(work, shard)
  return stored
}

function refuseWhileNeeded(snapshot: KeyspaceSnapshot, shard: ShardRecord): void {
  if (shard.status === 'migrating') {
    throw new FleetError('conflict', `a job works on the shard ${shard.id}`, {
      hint: 'wait until it has ended, or cancel it: fleetshard job list',
    })
  }
  const home = snapshot.tables.find(({ homeShard }) => homeShard === shard.id)
  if (home === undefined) return
  throw new FleetError('conflict', `the global table ${home.name} lives on shard ${shard.id}`, {
    hint: 'undeclare the table first: fleetshard table delete',
    retryable: false,
  })
}

async function commit(work: Work, snapshot: KeyspaceSnapshot, shard: ShardRecord): Promise<StoredKeyspace> {
  const plan: PlanRouting = (current) => {
    const now = current.shards.find(({ id }) => id === shard.id)
    if (now === undefined) throw new FleetError('not_found', `there is no shard ${shard.id}`)
    checkVersion(now, shard.version)
    return { delete: [shard.id] }
  }
  const tables = tablesToBeEmpty(snapshot, shard)
  if (tables.length === 0) return work.parts.routing.change(snapshot.keyspace.name, plan, work.change)
  const outcome = await changeFenced(work, { snapshot, shards: [shard], tables, plan })
  if (outcome.kind === 'changed') return outcome.stored
  throw new FleetError('conflict', `the shard ${shard.id} cannot be deleted: ${outcome.reason}`, {
    retryable: outcome.because === 'busy',
    hint: outcome.because === 'busy' ? 'try again' : 'hand its ranges over first, or delete the rows',
  })
}

/** All but reference tables, whose rows every other shard has too; of the last owner those as well. */
function tablesToBeEmpty(snapshot: KeyspaceSnapshot, shard: ShardRecord): readonly TableRecord[] {
  if (shard.vnodes === '') return []
  const isLast = !snapshot.shards.some(({ id, vnodes }) => id !== shard.id && vnodes !== '')
  return isLast ? snapshot.tables : snapshot.tables.filter(({ kind }) => kind === 'sharded')
}

/** Best effort, after the commit: what is left behind harms nobody and is found again. */
async function cleanUp(work: Work, shard: ShardRecord): Promise<void> {
  const { parts } = work
  const embedded = shard.nodes.filter(({ agent }) => agent !== null)
  const mayDrop = embedded.length > 0 && (await isEmpty(work, shard))
  await releaseDatabase(work, shard)
  const replicasFirst = shard.nodes.toSorted(
    (a, b) => Number(a.role === 'primary') - Number(b.role === 'primary'),
  )
  for (const node of replicasFirst) {
    if (mayDrop) await dropServer(work, node)
    await forgetSecret(work, node)
  }
  if (!mayDrop && embedded.length > 0) {
    parts.log.warn(
      { shard: shard.id },
      'the servers of a deleted shard are kept: they hold rows, or do not answer',
    )
  }
}

/** True when the database was reached and holds no row in any table. */
async function isEmpty(work: Work, shard: ShardRecord): Promise<boolean> {
  const { parts, engine } = work
  const bounds = { signal: work.signal, timeoutMs: parts.nodeCheckMs }
  try {
    const target = await targetOf(parts, primaryOf(shard), work.signal)
    const tables = (await engine.describeTables(target, bounds)).map(({ name }) => name)
    return (await engine.findRows(target, tables, bounds)) === null
  } catch (error) {
    parts.log.warn({ err: error, shard: shard.id }, 'the database of a deleted shard was not looked at')
    return false
  }
}

async function releaseDatabase(work: Work, shard: ShardRecord): Promise<void> {
  const { parts, engine } = work
  try {
    const target = await targetOf(parts, primaryOf(shard), work.signal)
    await engine.release(target, shard.id, { signal: work.signal, timeoutMs: parts.nodeCheckMs })
  } catch (error) {
    parts.log.warn({ err: error, shard: shard.id }, 'the database of a deleted shard was not released')
  }
}

async function dropServer({ parts, signal }: Work, node: NodeRecord): Promise<void> {
  try {
    if (node.agent !== null) await parts.servers.drop(node.agent, node.id, signal)
  } catch (error) {
    parts.log.warn({ err: error, node: node.id }, 'an embedded server was not removed')
  }
}

/** Unless another node logs in with it. */
async function forgetSecret({ parts, signal, change }: Work, node: NodeRecord): Promise<void> {
  const { secretRef } = node
  if (secretRef === null || !secretRef.startsWith('catalog:')) return
  for (const other of parts.fleet.nodes()) {
    if (other.node.id !== node.id && other.node.secretRef === secretRef) return
  }
  try {
    await parts.catalog.secrets.delete(secretRef.slice('catalog:'.length), {
      conditions: [change.condition],
      signal,
    })
    parts.secrets.forget(secretRef)
  } catch (error) {
    parts.log.warn({ err: error, node: node.id }, 'the password of a deleted node was not removed')
  }
}
