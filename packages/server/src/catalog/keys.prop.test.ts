import { parseJobId, parseKeyspaceName, parseRouterId, parseShardId } from '@fleetshard/core'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { keys, parseKey } from './keys.ts'
import { prefixEnd } from './prefix.ts'

const id = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_-]{0,20}$/)
const name = fc.stringMatching(/^[a-z_][a-z0-9_]{0,20}$/).map(parseKeyspaceName)
const anyText = fc.string({ unit: 'binary' }).filter((text) => text.isWellFormed())

describe('keys', () => {
  it('are read as what they were built from', () => {
    fc.assert(
      fc.property(name, id, fc.string({ minLength: 1 }), (keyspace, part, table) => {
        expect(parseKey(keys.keyspace(keyspace))).toEqual({ kind: 'keyspace', keyspace })
        expect(parseKey(keys.epoch(keyspace))).toEqual({ kind: 'epoch', keyspace })
        const shard = parseShardId(part)
        expect(parseKey(keys.shard(keyspace, shard))).toEqual({ kind: 'shard', keyspace, shard })
        expect(parseKey(keys.table(keyspace, table))).toEqual({ kind: 'table', keyspace, table })
        const job = parseJobId(part)
        expect(parseKey(keys.job(job))).toEqual({ kind: 'job', job })
        expect(parseKey(keys.jobOwner(job))).toEqual({ kind: 'job_owner', job })
        const router = parseRouterId(part)
        expect(parseKey(keys.router(router))).toEqual({ kind: 'router', router })
        expect(parseKey(keys.agent(part))).toEqual({ kind: 'agent', agent: part })
        expect(parseKey(keys.secret(part)).kind).toBe('other')
        expect(parseKey(keys.election(part)).kind).toBe('other')
      }),
    )
  })
})

describe('prefixEnd', () => {
  it('bounds exactly the texts that begin with the prefix', () => {
    const bytes = (text: string): Buffer => Buffer.from(text)
    fc.assert(
      fc.property(anyText, anyText, anyText, (prefix, rest, other) => {
        const end = prefixEnd(prefix)
        if (end === null) {
          expect(Array.from(prefix).every((character) => character === '\u{10ffff}')).toBe(true)
          return
        }
        const isWithin = (text: string) =>
          Buffer.compare(bytes(text), bytes(prefix)) >= 0 && Buffer.compare(bytes(text), bytes(end)) < 0
        expect(isWithin(prefix + rest)).toBe(true)
        expect(isWithin(other)).toBe(other.startsWith(prefix))
        expect(isWithin(end)).toBe(false)
      }),
    )
  })

  it('steps over the surrogates', () => {
    expect(prefixEnd('a\ud7ff')).toBe('a\ue000')
    expect(prefixEnd('a\u{10ffff}')).toBe('b')
    expect(prefixEnd('')).toBeNull()
  })
})
