// The pure parts of a move: where keys go, which unit a change belongs to, what a change means for each target, and
// what is left of many changes of a row.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  buildShardMap,
  createRingDealer,
  buildRing,
  parseEpoch,
  parseKey,
  parseKeyspaceName,
  parseShardId,
  parseTerm,
  type HashName,
  type KeyspaceSnapshot,
  type ShardId,
  type ShardRecord,
} from '@fleetshard/core'
import { parseXidSnapshot, unchanged, type MovedTable, type UnitRecord } from '../../engine/mod.ts'
import { TargetBatch } from './batch.ts'
import { createOwnership, createPlace, createPlaceFrom, planMoves } from './move-plan.ts'
import { routeChange } from './route.ts'
import { joinUnits, TableUnits } from './units.ts'

const keyspace = parseKeyspaceName('app')

function snapshotOf(hash: HashName, owners: readonly string[], idle: readonly string[]): KeyspaceSnapshot {
  const dealer = createRingDealer(buildRing([]))
  const vnodes = new Map<string, string>()
  for (const name of owners) {
    for (const [id, own] of dealer.add({ id: parseShardId(name), vnodeCount: 8 }).vnodes) vnodes.set(id, own)
  }
  const shards = [...owners, ...idle].map((name, sequenceBlock): ShardRecord => ({
    id: parseShardId(name),
    name,
    keyspace,
    status: 'active',
    statusReason: null,
    version: 1,
    term: parseTerm(1),
    vnodes: vnodes.get(name) ?? '',
    nodes: [],
    sequenceBlock,
    createdAt: '2026-01-01T00:00:00.000Z',
  }))
  return {
    keyspace: {
      name: keyspace,
      engine: 'postgres',
      hash,
      strategy: 'ring',
      defaultConsistency: 'strong',
      nextSequenceBlock: shards.length,
      version: 1,
      createdAt: '2026-01-01T00:00:00.000Z',
    },
    epoch: parseEpoch(1),
    shards,
    tables: [],
  }
}

const hashOf = (snapshot: KeyspaceSnapshot, text: string): string =>
  buildShardMap(snapshot).locate(parseKey(text, 'text'), 'text').hash

const target = (name: string) => ({ shard: parseShardId(name), vnodeCount: 8 })

describe('the plan of a move', () => {
  const orders = [
    { kind: 'split', sources: ['a'], targets: ['x', 'y', 'z'] },
    { kind: 'merge', sources: ['a', 'b'], targets: ['x'] },
    { kind: 'move', sources: ['b'], targets: ['x'] },
    { kind: 'split', sources: ['a'], targets: ['x', 'y'], keepSource: true },
    { kind: 'rebalance', sources: ['a', 'b'], targets: ['x'] },
  ] as const

  it.each(orders)('places every key of a $kind where the map puts it after the flip', (order) => {
    const { kind, sources, targets } = order
    fc.assert(
      fc.property(
        fc.constantFrom<HashName>('murmur3', 'xxhash', 'postgres'),
        fc.string({ minLength: 1 }).filter((text) => !text.includes('\0')),
        (hash, text) => {
          const snapshot = snapshotOf(hash, ['a', 'b'], ['x', 'y', 'z'])
          const detail = {
            kind,
            sources: sources.map(parseShardId),
            targets: targets.map(target),
            splitPoint: null,
            keepSource: 'keepSource' in order,
          }
          const { change, keeping } = planMoves(snapshot, detail)
          const ids = targets.map(parseShardId)
          const place = createPlace({ snapshot, moves: change.moves, targets: ids, keeping })
          const key = parseKey(text, 'text')
          const before = buildShardMap(snapshot).shardFor(key, 'text').id
          const shards = snapshot.shards.map((shard) => ({
            ...shard,
            vnodes: change.vnodes.get(shard.id) ?? shard.vnodes,
          }))
          const after = buildShardMap({ ...snapshot, shards }).shardFor(key, 'text').id
          if (detail.sources.includes(before)) {
            const found = place(key, 'text').map((index) => ids[index])
            expect(found).toEqual(after === before ? [] : [after])
            const from = (source: ShardId) =>
              createPlaceFrom({ snapshot, moves: change.moves, targets: ids, keeping }, source)
            expect(from(before)(key, 'text')).toEqual(place(key, 'text'))
            expect(place(parseKey(hashOf(snapshot, text), 'text'), 'hash')).toEqual(place(key, 'text'))
            expect(createOwnership(snapshot, before)(key, 'text')).toBe(true)
            for (const other of detail.sources.filter((id) => id !== before))
              expect(() => from(other)(key, 'text')).toThrow(/does not own/)
          } else {
            expect(after).toBe(before)
            expect(() => place(key, 'text')).toThrow(/does not own/)
          }
        },
      ),
    )
  })

  it('has another digest when the ranges are others', () => {
    const detail = {
      kind: 'split',
      sources: [parseShardId('a')],
      targets: [target('x'), target('y')],
      splitPoint: null,
    } as const
    const one = planMoves(snapshotOf('murmur3', ['a'], ['x', 'y']), {
      ...detail,
      sources: [...detail.sources],
      targets: [...detail.targets],
    })
    const two = planMoves(snapshotOf('murmur3', ['a', 'b'], ['x', 'y']), {
      ...detail,
      sources: [...detail.sources],
      targets: [...detail.targets],
    })
    expect(one.digest).not.toBe(two.digest)
  })
})

const table: MovedTable = {
  name: 'public.t',
  kind: 'sharded',
  columns: ['id', 'owner', 'body'].map((name) => ({ name, type: 'text' })),
  primaryKey: [0],
  shardKey: { column: 1, type: 'text' },
  unitsBy: 'integer',
  tellsKey: false,
  isUniqueByKey: false,
  hasTriggers: false,
  referencedBy: [],
  signature: '',
  rowsEstimate: 0,
  bytes: 0,
}

const snapshot = parseXidSnapshot('10:10:')
const unit = (number: number, after: string | null, upTo: string | null) => ({
  number,
  range: { after, upTo },
  snapshot,
  rows: 1,
})

describe('units', () => {
  it('know which of them a key lies in, by number and not by text', () => {
    const units = new TableUnits(table)
    units.add(unit(1, null, '9'))
    units.add(unit(2, '9', '100'))
    const found = ['-5', '9', '10', '99', '100', '101'].map((key) => units.unitOf(key)?.number ?? null)
    expect(found).toEqual([1, 1, 2, 2, 2, null])
    units.add(unit(3, '100', null))
    expect(units.unitOf('9223372036854775807')?.number).toBe(3)
    expect(units.frontier).toBeUndefined()
  })

  it('leave no gap', () => {
    const units = new TableUnits(table)
    units.add(unit(1, null, '9'))
    expect(() => {
      units.add(unit(2, '10', null))
    }).toThrow(/gap/)
  })

  it('count only where every target has them, under one snapshot, without a gap before', () => {
    const record = (
      number: number,
      after: string | null,
      upTo: string | null,
      text = '10:10:',
    ): UnitRecord => ({
      source: parseShardId('a'),
      table: table.name,
      number,
      range: { after, upTo },
      snapshot: text,
      rows: 1,
    })
    const whole = [record(1, null, '9')]
    const { units, broken } = joinUnits(
      [table],
      [
        [...whole, record(2, '9', '20', '11:11:'), record(3, '20', '30')],
        [...whole, record(2, '9', '20', '12:12:'), record(3, '20', '30')],
      ],
    )
    expect(units.get(table.name)?.done.map(({ number }) => number)).toEqual([1])
    expect(broken.map(({ number }) => number).toSorted((a, b) => a - b)).toEqual([2, 2, 3])
  })
})

describe('a change on its way to the targets', () => {
  // Keys are placed by their first letter.
  const parts = {
    table,
    place: (key: string | null) => ['xyz'.indexOf((key ?? '').charAt(0))],
    targetCount: 3,
  }
  const route = (change: object) =>
    routeChange(parts, { xid: null, oid: 1, ...change } as Parameters<typeof routeChange>[1]).map(
      (one) => `${one.kind} ${one.key.join()} on ${String(one.target)}`,
    )
  const full = (...values: (string | null)[]) => ({ kind: 'full', values }) as const
  const key = (...values: (string | null)[]) => ({ kind: 'key', values }) as const

  it('is an insert on its owner', () => {
    expect(route({ kind: 'insert', row: ['1', 'x', 'b'] })).toEqual(['put 1 on 0'])
  })

  it('is removed everywhere else when the stream does not tell where the row was', () => {
    expect(route({ kind: 'update', old: null, row: ['1', 'y', 'b'] })).toEqual([
      'put 1 on 1',
      'remove 1 on 0',
      'remove 1 on 2',
    ])
    expect(route({ kind: 'delete', old: key('1', null, null) })).toEqual([
      'remove 1 on 0',
      'remove 1 on 1',
      'remove 1 on 2',
    ])
  })

  it('is moved from one target to the other when it tells', () => {
    expect(route({ kind: 'update', old: full('1', 'z', 'b'), row: ['1', 'x', unchanged] })).toEqual([
      'put 1 on 0',
      'remove 1 on 2',
    ])
    expect(route({ kind: 'delete', old: full('1', 'z', 'b') })).toEqual(['remove 1 on 2'])
  })

  it('takes its old primary key away with it', () => {
    expect(route({ kind: 'update', old: full('1', 'x', 'b'), row: ['2', 'x', 'b'] })).toEqual([
      'put 2 on 0',
      'remove 1 on 0',
    ])
  })

  it('is refused where its place cannot be told', () => {
    expect(() => route({ kind: 'update', old: null, row: ['1', unchanged, 'b'] })).toThrow(
      /shard key is not told/,
    )
    expect(() => route({ kind: 'insert', row: ['1', null, 'b'] })).toThrow(/shard key is not told/)
  })
})

describe('a batch', () => {
  const put = (batch: TargetBatch, id: string, body: string | typeof unchanged, isNew = false) => {
    batch.put(table, { key: [id], values: [id, 'x', body], origin: [id], isNew })
  }

  it('has of each row what is to become of it in the end', () => {
    const batch = new TargetBatch()
    put(batch, '1', 'a', true)
    put(batch, '1', 'b')
    put(batch, '2', 'c')
    batch.remove(table, ['2'])
    put(batch, '3', 'd', true)
    batch.remove(table, ['3'])
    batch.remove(table, ['4'])
    put(batch, '4', 'e', true)
    expect(batch.rows).toBe(4)
    expect(batch.take()).toEqual([
      {
        table,
        // What was new to the target need not be taken away; what was there before must be.
        remove: [['2'], ['4']],
        insert: [
          ['1', 'x', 'b'],
          ['4', 'x', 'e'],
        ],
      },
    ])
    expect(batch.isEmpty).toBe(true)
  })

  it('does not let a row go out without its values', () => {
    const batch = new TargetBatch()
    put(batch, '1', unchanged)
    expect([...batch.partial()].flatMap(({ rows }) => rows.map(({ origin }) => origin))).toEqual([['1']])
    expect(() => batch.take()).toThrow(/without all its values/)
  })
})
