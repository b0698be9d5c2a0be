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
import type { NodeTarget } from '../../../engine/mod.ts'
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
  let target: NodeTarget | null = null
  const { shard, stored } = await parts.mutex.run(found.shard.keyspace, work.signal, async () => {
    refuseDuringSchemaJob(work, found.shard.keyspace)
    refuseShardDuringReshard(work, found.shard)
    const { snapshot } = await parts.routing.base(found.shard.keyspace, work.signal)
    const now = snapshot.shards.find((one) => one.id === found.shard.id)
    if (now === undefined) throw new FleetError('not_found', `there is no shard ${id}`)
    checkVersion(now, ifMatch)
    refuseWhileNeeded(snapshot, now)
    work.change.before(auditView(now))
    // Looked up while it is there: the commit takes the passwords away.
    target = await knownTarget(work, now)
    const gone = secretsOf(work, now)
    const changed = await commit(work, snapshot, now, gone)
    for (const ref of gone) parts.secrets.forget(ref)
    return { shard: now, stored: changed }
  })
  await cleanUp(work, shard, target)
  return stored
}

/** How to reach the primary; null, with a warning, when its password cannot be had. */
async function knownTarget(work: Work, shard: ShardRecord): Promise<NodeTarget | null> {
  try {
    return await targetOf(work.parts, primaryOf(shard), work.signal)
  } catch (error) {
    work.signal.throwIfAborted()
    work.parts.log.warn({ err: error, shard: shard.id }, 'the password of a deleted shard is not to be had')
    return null
  }
}

const catalogPrefix = 'catalog:'

/** References to the passwords that no other node logs in with. */
function secretsOf({ parts }: Work, shard: ShardRecord): readonly string[] {
  const own = new Set<string>(shard.nodes.map(({ id }) => id))
  const others = new Set<string | null>()
  for (const { node } of parts.fleet.nodes()) if (!own.has(node.id)) others.add(node.secretRef)
  const refs = new Set(shard.nodes.map(({ secretRef }) => secretRef))
  return [...refs].filter(
    (ref): ref is string => ref !== null && ref.startsWith(catalogPrefix) && !others.has(ref),
  )
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

async function commit(
  work: Work,
  snapshot: KeyspaceSnapshot,
  shard: ShardRecord,
  passwords: readonly string[],
): Promise<StoredKeyspace> {
  const { secrets } = work.parts.catalog
  const writes = passwords.map((ref) => secrets.deleteWrite(ref.slice(catalogPrefix.length)))
  const plan: PlanRouting = (current) => {
    const now = current.shards.find(({ id }) => id === shard.id)
    if (now === undefined) throw new FleetError('not_found', `there is no shard ${shard.id}`)
    checkVersion(now, shard.version)
    return { delete: [shard.id], extras: { writes } }
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
async function cleanUp(work: Work, shard: ShardRecord, target: NodeTarget | null): Promise<void> {
  const { parts } = work
  const embedded = shard.nodes.filter(({ agent }) => agent !== null)
  const mayDrop = target !== null && embedded.length > 0 && (await isEmpty(work, shard, target))
  if (target !== null) await releaseDatabase(work, shard, target)
  if (mayDrop) {
    const replicasFirst = shard.nodes.toSorted(
      (a, b) => Number(a.role === 'primary') - Number(b.role === 'primary'),
    )
    for (const node of replicasFirst) await dropServer(work, node)
  } else if (embedded.length > 0) {
    parts.log.warn(
      { shard: shard.id },
      'the servers of a deleted shard are kept: they hold rows, or do not answer',
    )
  }
}

/** True when the database was reached and holds no row in any table. */
async function isEmpty(work: Work, shard: ShardRecord, target: NodeTarget): Promise<boolean> {
  const { parts, engine } = work
  const bounds = { signal: work.signal, timeoutMs: parts.nodeCheckMs }
  try {
    const tables = (await engine.describeTables(target, bounds)).map(({ name }) => name)
    return (await engine.findRows(target, tables, bounds)) === null
  } catch (error) {
    parts.log.warn({ err: error, shard: shard.id }, 'the database of a deleted shard was not looked at')
    return false
  }
}

async function releaseDatabase(work: Work, shard: ShardRecord, target: NodeTarget): Promise<void> {
  const { parts, engine } = work
  try {
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
