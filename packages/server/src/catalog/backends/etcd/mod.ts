// The etcd backend: etcd does natively what the port asks; here it is asked in its own words. Its history grows
// until it is compacted, which is left to the server's --auto-compaction-retention: it may have other users.
import { isFleetError, type Clock } from '@fleetshard/core'
import type { ICompare, IKeyValue, IRequestOp } from 'etcd3'
import type { Logger } from '../../../runtime/mod.ts'
import { checkCommit } from '../../limits.ts'
import type {
  CatalogStore,
  CommitResult,
  KeyRevision,
  StoreCondition,
  StoreRevision,
  StoreSnapshot,
  StoreWrite,
} from '../../store.ts'
import { createKeySpace, type KeySpace } from './key-space.ts'
import { grantLease } from './lease.ts'
import { createMembers, type EtcdAddress, type Members } from './members.ts'
import { watchEvents } from './watch.ts'

/** Keys of one page of a read: with the largest values a page stays within what is received at once. */
const pageKeys = 256
/** A read whose pages were compacted away under it begins again, this often. */
const readAttemptsMax = 3

export interface EtcdStoreOptions {
  readonly clock: Clock
  readonly log: Logger
  readonly deadlineMs: number
  /** What every key begins with; not empty. */
  readonly keyPrefix: string
}

/** A catalog in etcd. */
export interface EtcdStore extends CatalogStore {
  /** Forgets all history up to now. Of the whole etcd, also of its other users. */
  compact(signal?: AbortSignal): Promise<void>
}

/** Opens a store; the first operation connects. */
export function openEtcdStore(address: EtcdAddress, options: EtcdStoreOptions): EtcdStore {
  const { clock, log, deadlineMs } = options
  const members = createMembers({ clock, address, deadlineMs })
  const space = createKeySpace(options.keyPrefix)
  const closed = new AbortController()
  return {
    read: (prefix, signal) => read(members, space, prefix, signal),
    async commit(conditions, writes, signal) {
      checkCommit(conditions, writes)
      return commit(members, space, { conditions, writes }, signal)
    },
    watch: (prefix, from, signal) =>
      watchEvents({ clock, log, members, space }, prefix, from, AbortSignal.any([signal, closed.signal])),
    lease: (ttlMs, signal) => grantLease(members, ttlMs, signal),
    async compact(signal) {
      const { revision } = await read(members, space, '', signal)
      await members.call(
        ({ client, deadline }) => client.kv.compact({ revision, physical: true }, { deadline }),
        {
          signal,
        },
      )
    },
    [Symbol.asyncDispose]() {
      closed.abort()
      members.close()
      return Promise.resolve()
    },
  }
}

async function read(
  members: Members,
  space: KeySpace,
  prefix: string,
  signal?: AbortSignal,
): Promise<StoreSnapshot> {
  for (let left = readAttemptsMax; ; left--) {
    try {
      return await readPages(members, space, prefix, signal)
    } catch (error) {
      const compacted = isFleetError(error) && error.message.includes('has been compacted')
      if (!compacted || left === 1) throw error
    }
  }
}

/** All pages at the revision of the first. */
async function readPages(
  members: Members,
  space: KeySpace,
  prefix: string,
  signal?: AbortSignal,
): Promise<StoreSnapshot> {
  const { key: start, range_end } = space.range(prefix)
  const found: IKeyValue[] = []
  let key = start
  let revision = '0'
  for (let more = true; more;) {
    const request = { key, range_end, limit: pageKeys, revision }
    const page = await members.call(({ client, deadline }) => client.kv.range(request, { deadline }), {
      signal,
    })
    if (revision === '0') revision = page.header.revision
    found.push(...page.kvs)
    const last = page.kvs.at(-1)
    more = page.more && last !== undefined
    if (last !== undefined) key = Buffer.concat([last.key, Buffer.from([0])])
  }
  const entries = found.map((kv) => ({
    key: space.fromEtcd(kv.key),
    value: kv.value.toString('utf8'),
    revision: kv.mod_revision as KeyRevision,
  }))
  return { entries, revision: revision as StoreRevision }
}

async function commit(
  members: Members,
  space: KeySpace,
  {
    conditions,
    writes,
  }: { readonly conditions: readonly StoreCondition[]; readonly writes: readonly StoreWrite[] },
  signal?: AbortSignal,
): Promise<CommitResult> {
  const request = {
    compare: conditions.map((condition) => toCompare(space, condition)),
    success: writes.map((write) => toRequest(space, write)),
  }
  const { succeeded, header } = await members.call(
    ({ client, deadline }) => client.kv.txn(request, { deadline }),
    { once: true, signal },
  )
  if (!succeeded) return { kind: 'conflict' }
  const puts = writes.filter((write) => write.kind === 'put')
  return {
    kind: 'committed',
    revision: header.revision as StoreRevision,
    revisions: new Map(puts.map((write) => [write.key, header.revision as KeyRevision])),
  }
}

/** An absent key has the modification revision 0. */
function toCompare(space: KeySpace, condition: StoreCondition): ICompare {
  const key = space.toEtcd(condition.key)
  switch (condition.kind) {
    case 'absent':
      return { key, target: 'Mod', result: 'Equal', mod_revision: 0 }
    case 'exists':
      return { key, target: 'Mod', result: 'Greater', mod_revision: 0 }
    case 'revision':
      return { key, target: 'Mod', result: 'Equal', mod_revision: condition.revision }
  }
}

function toRequest(space: KeySpace, write: StoreWrite): IRequestOp {
  const key = space.toEtcd(write.key)
  if (write.kind === 'delete') return { request_delete_range: { key } }
  const value = Buffer.from(write.value)
  return {
    request_put: { key, value, ...(write.lease === undefined ? {} : { lease: write.lease.id }) },
  }
}
