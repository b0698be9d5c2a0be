import { describe, expect, test } from 'vitest'
import type { DataSet } from './data-set.ts'
import { failuresOf, type Finding } from './findings.ts'

const cities: DataSet = {
  table: 'cities',
  columns: ['city_id', 'name'],
  keyType: 'int8',
  ddl: '',
  rows: [
    ['1', 'one'],
    ['2', 'two'],
    ['3', 'three'],
  ],
}

function finding(server: string, keys: readonly string[], strays = 0): Finding {
  return {
    shard: server.slice(0, 1),
    server,
    isPrimary: server.endsWith('a'),
    counts: { cities: keys.length + strays },
    owned: new Map([['cities', new Set(keys)]]),
    wrong: strays,
  }
}

const judge = (...findings: readonly Finding[]): readonly string[] => failuresOf([cities], findings)

describe('the verdict on what the servers have', () => {
  test('finds nothing where every row lies once, on primary and replica', () => {
    expect(
      judge(finding('1a', ['1', '2']), finding('1b', ['2', '1']), finding('2a', ['3']), finding('2b', ['3'])),
    ).toEqual([])
  })

  test('finds a row that lies on a wrong shard besides', () => {
    expect(judge(finding('1a', ['1', '2']), finding('2a', ['3'], 1))).toEqual([
      '2a has 1 rows of other shards',
      'cities has 4 rows and should have 3',
    ])
  })

  test('finds a row that lies on a wrong shard only', () => {
    expect(judge(finding('1a', ['1']), finding('2a', ['3'], 1))).toEqual([
      '2a has 1 rows of other shards',
      '1 rows of cities are not where they belong',
    ])
  })

  test('finds a row that is lost, though the count is right', () => {
    expect(judge(finding('1a', ['1', '9']), finding('2a', ['3']))).toEqual([
      '1 rows of cities are not where they belong',
    ])
  })

  test('finds a replica that lacks a row, has one too many, or has another one', () => {
    const primaries = [finding('1a', ['1', '2']), finding('2a', ['3'])]
    for (const keys of [['1'], ['1', '2', '3'], ['1', '3']]) {
      expect(judge(...primaries, finding('1b', keys))).toEqual([
        '1b has other rows of cities than its primary',
      ])
    }
  })

  test('finds a shard whose primary was not asked', () => {
    expect(judge(finding('1a', ['1', '2', '3']), finding('2b', []))).toEqual([
      '2b has other rows of cities than its primary',
    ])
  })
})
