// Which new version of a topology file may be served while rows lie where the old one put them.
import { describe, expect, it } from 'vitest'
import type { KeyspaceSnapshot } from '../model.ts'
import { parseTopologyFile } from './read.ts'
import { ServedPlacement } from './served-placement.ts'
import { fileNode, topologyFile } from './testing.ts'

const snapshotOf = (text: string): KeyspaceSnapshot => parseTopologyFile(text, { name: 'f' }).snapshot
const users = { name: 'users', key_column: 'user_id', key_type: 'text' }
const two = (a: string, b: string): string =>
  topologyFile(0, {
    shards: [a, b].map((host, number) => ({ shard_id: number, primary: fileNode(host) })),
  })

/** What is said to the last of the files, after the others were served. */
function refusalOf(...texts: readonly string[]): string | null {
  const served = new ServedPlacement()
  for (const text of texts.slice(0, -1)) {
    expect(served.refusal(snapshotOf(text))).toBeNull()
    served.serve(snapshotOf(text))
  }
  return served.refusal(snapshotOf(texts.at(-1) ?? ''))
}

describe('a new version of a topology file', () => {
  it('is served when it says where the same rows are now, or how to reach them', () => {
    expect(refusalOf(topologyFile(3), topologyFile(3))).toBeNull()
    expect(refusalOf(topologyFile(3), topologyFile(3, { default_consistency: 'eventual' }))).toBeNull()
    expect(refusalOf(two('a', 'b'), two('a', 'c'))).toBeNull()
    expect(refusalOf(topologyFile(2), topologyFile(2, { tables: [users] }))).toBeNull()
  })

  it('is served when a replica was promoted', () => {
    const promoted = topologyFile(0, {
      shards: [{ shard_id: 0, primary: fileNode('r0'), replicas: [fileNode('p0')] }],
    })
    expect(refusalOf(topologyFile(1), promoted)).toBeNull()
  })

  it('is refused when the number of shards changes, under modulo and on a ring', () => {
    expect(refusalOf(topologyFile(3), topologyFile(4))).toContain('on shards 0, 1, 2, 3 instead of 0, 1, 2')
    expect(refusalOf(topologyFile(3), topologyFile(2))).toContain('on shards 0, 1')
    const ring = { strategy: 'ring' }
    expect(refusalOf(topologyFile(3, ring), topologyFile(4, ring))).toContain('on shards')
  })

  it('is refused when keys are hashed or dealt otherwise', () => {
    expect(refusalOf(topologyFile(2), topologyFile(2, { strategy: 'ring' }))).toContain('murmur3 and ring')
    expect(
      refusalOf(topologyFile(2, { strategy: 'ring' }), topologyFile(2, { strategy: 'ring', hash: 'xxhash' })),
    ).toContain('xxhash')
    expect(
      refusalOf(topologyFile(2, { strategy: 'ring' }), topologyFile(2, { strategy: 'ring', vnodes: 8 })),
    ).toContain('own other parts of the ring')
  })

  it('is refused when databases change places, also in two steps', () => {
    expect(refusalOf(two('a', 'b'), two('b', 'a'))).toContain('holds the rows of shard 1, not of shard 0')
    expect(refusalOf(two('a', 'b'), two('c', 'b'), two('c', 'd'), two('b', 'd'))).toContain('rows of shard 1')
  })

  it('is refused when a table has another key, also after it was left out for a while', () => {
    const withTable = (table: object): string => topologyFile(2, { tables: [table] })
    expect(refusalOf(withTable(users), withTable({ ...users, key_column: 'email' }))).toContain(
      'by email (text) instead of user_id (text)',
    )
    expect(refusalOf(withTable(users), topologyFile(2), withTable({ ...users, key_type: 'uuid' }))).toContain(
      'user_id (uuid)',
    )
    expect(refusalOf(withTable(users), withTable({ name: 'users', kind: 'reference' }))).toContain(
      'kept otherwise',
    )
  })

  it('is served under another name of the keyspace, and that name is held to its own placement', () => {
    const other = { keyspace: 'v2' }
    expect(refusalOf(topologyFile(3), topologyFile(4, other))).toBeNull()
    expect(refusalOf(topologyFile(3), topologyFile(4, other), topologyFile(4))).toContain('on shards')
    expect(refusalOf(topologyFile(3), topologyFile(4, other), topologyFile(3))).toBeNull()
  })
})
