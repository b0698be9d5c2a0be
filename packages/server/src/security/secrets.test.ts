// Secrets are found where their reference says, held for a while, and never repeated in an error.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { Clock } from '@fleetshard/core'
import { createSecretResolver, secretCacheEntriesMax, secretCacheMs, secretFileBytesMax } from './secrets.ts'

const folder = mkdtempSync(join(tmpdir(), 'fleetshard-secrets-'))
afterAll(() => {
  rmSync(folder, { recursive: true })
})

function setUp() {
  let now = 0
  const reads: string[] = []
  const env = new Map([['SHARD_PASSWORD', 'from-env']])
  const stored = new Map([['shard-1', 'from-catalog']])
  const clock: Clock = {
    now: () => now,
    monotonic: () => now,
    after: () => () => undefined,
    sleep: () => Promise.resolve(),
  }
  const resolver = createSecretResolver({
    clock,
    sources: {
      env: (name) => env.get(name),
      catalog: (name) => {
        reads.push(name)
        return Promise.resolve(stored.get(name) ?? null)
      },
    },
  })
  return { resolver, env, stored, reads, advance: (ms: number) => (now += ms) }
}

describe('secret resolver', () => {
  it('reads each source and gives null for none', async () => {
    const { resolver } = setUp()
    const path = join(folder, 'password')
    writeFileSync(path, 'from file\n')
    expect(await resolver.resolve('env:SHARD_PASSWORD')).toBe('from-env')
    expect(await resolver.resolve('catalog:shard-1')).toBe('from-catalog')
    expect(await resolver.resolve(`file:${path}`)).toBe('from file')
    expect(await resolver.resolve(null)).toBeNull()
  })

  it('asks the catalog once for many callers, and again when the time is over or the value was forgotten', async () => {
    const { resolver, reads, stored, advance } = setUp()
    await Promise.all([resolver.resolve('catalog:shard-1'), resolver.resolve('catalog:shard-1')])
    expect(reads).toEqual(['shard-1'])
    stored.set('shard-1', 'rotated')
    expect(await resolver.resolve('catalog:shard-1')).toBe('from-catalog')
    resolver.forget('catalog:shard-1')
    expect(await resolver.resolve('catalog:shard-1')).toBe('rotated')
    stored.set('shard-1', 'again')
    advance(secretCacheMs)
    expect(await resolver.resolve('catalog:shard-1')).toBe('again')
  })

  it('does not hold a failure', async () => {
    const { resolver, env } = setUp()
    await expect(resolver.resolve('env:LATE')).rejects.toMatchObject({ code: 'secret_unavailable' })
    env.set('LATE', 'now there')
    expect(await resolver.resolve('env:LATE')).toBe('now there')
  })

  it('holds a bounded number of values', async () => {
    const { resolver, reads, stored } = setUp()
    for (let index = 0; index <= secretCacheEntriesMax; index++) {
      stored.set(`n${String(index)}`, 'v')
      await resolver.resolve(`catalog:n${String(index)}`)
    }
    const before = reads.length
    await resolver.resolve('catalog:n1')
    expect(reads.length).toBe(before)
    await resolver.resolve('catalog:n0')
    expect(reads.length).toBe(before + 1)
  })

  it('refuses a missing file, an empty one and one that is no secret, by path', async () => {
    const { resolver } = setUp()
    const empty = join(folder, 'empty')
    const large = join(folder, 'large')
    writeFileSync(empty, '\n')
    writeFileSync(large, 'x'.repeat(secretFileBytesMax + 1))
    for (const path of [join(folder, 'missing'), empty, large]) {
      await expect(resolver.resolve(`file:${path}`)).rejects.toMatchObject({
        code: 'secret_unavailable',
        message: expect.stringContaining(path) as string,
      })
    }
  })

  it('does not repeat a reference of unknown form: it may be the password itself', async () => {
    const { resolver } = setUp()
    for (const wrong of ['hunter2', 'vault:hunter2', 'env:', ':hunter2', 'postgres://u:hunter2@host/db']) {
      const error: unknown = await resolver.resolve(wrong).catch((caught: unknown) => caught)
      expect(error).toMatchObject({ code: 'invalid_config' })
      expect(JSON.stringify([(error as Error).message, error])).not.toContain('hunter2')
    }
  })
})
