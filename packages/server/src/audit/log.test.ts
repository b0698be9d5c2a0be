import { beforeEach, describe, expect, it } from 'vitest'
import { createMemoryBackend } from '../catalog/backends/memory/mod.ts'
import { keys, type CatalogStore } from '../catalog/mod.ts'
import { systemClock } from '../runtime/mod.ts'
import type { AuditEntry } from './entry.ts'
import { bucketRecords, createAuditLog, type AuditLog } from './log.ts'

let store: CatalogStore
let log: AuditLog

beforeEach(() => {
  store = createMemoryBackend({ clock: systemClock }).open()
  log = createAuditLog({ store, clock: systemClock, recordsMax: 2 * bucketRecords })
})

const entry = (changed: Partial<AuditEntry> = {}): AuditEntry => ({
  at: '2026-01-01T00:00:00.000Z',
  phase: 'ended',
  change: 'c-1',
  who: { kind: 'token', subject: 'ci', role: 'operator' },
  from: '127.0.0.1',
  what: 'shard.create',
  target: 'default/shard-01',
  reason: null,
  traceId: '0'.repeat(32),
  before: null,
  after: { name: 'shard-01' },
  outcome: 'ok',
  ...changed,
})

async function fill(count: number): Promise<void> {
  for (let index = 1; index <= count; index += 1) await log.append(entry({ target: `t-${String(index)}` }))
}

async function keyOf(seq: number): Promise<string> {
  const { entries } = await store.read(keys.audit)
  return entries.find(({ key }) => key.endsWith(`/${String(seq).padStart(12, '0')}`))!.key
}

async function valueOf(key: string): Promise<string> {
  return (await store.read(key)).entries[0]!.value
}

describe('the chain', () => {
  it('is verified from the first record to the last', async () => {
    expect(await log.verify()).toMatchObject({ records: 0, first: null, last: null, fault: null })
    await fill(60)
    const last = await log.append(entry())
    expect(await log.verify()).toEqual({ records: 61, first: 1, last: 61, hash: last.hash, fault: null })
  })

  it('stays one chain when several write to it', async () => {
    const logs = [
      log,
      ...[1, 2, 3].map(() => createAuditLog({ store, clock: systemClock, recordsMax: 1_000 })),
    ]
    await Promise.all(logs.flatMap((one) => [1, 2, 3, 4].map(() => one.append(entry()))))
    expect(await log.verify()).toMatchObject({ records: 16, fault: null })
  })

  it('takes what comes at once in few commits, in its order, also over the end of a bucket that goes', async () => {
    let commits = 0
    const counting: CatalogStore = Object.create(store, {
      commit: {
        value: (...args: Parameters<CatalogStore['commit']>) => {
          commits += 1
          return store.commit(...args)
        },
      },
    }) as CatalogStore
    const busy = createAuditLog({ store: counting, clock: systemClock, recordsMax: bucketRecords })
    const count = 6 * bucketRecords
    const records = await Promise.all(
      Array.from({ length: count }, (_, index) => busy.append(entry({ target: `t-${String(index)}` }))),
    )
    expect(records.map(({ seq, target }) => `${String(seq)} ${target}`)).toEqual(
      Array.from({ length: count }, (_, index) => `${String(index + 1)} t-${String(index)}`),
    )
    expect(commits).toBeLessThan(count / 5)
    const verified = await busy.verify()
    expect(verified).toMatchObject({ last: count, fault: null })
    expect(verified.records).toBeLessThan(3 * bucketRecords)
  })

  it('goes on at the end that another has left', async () => {
    const other = createAuditLog({ store, clock: systemClock, recordsMax: 1_000 })
    for (const one of [log, other, log, log, other]) await one.append(entry())
    expect(await log.verify()).toMatchObject({ records: 5, fault: null })
  })

  it('names the record that was changed', async () => {
    await fill(5)
    const key = await keyOf(3)
    await store.commit([], [{ kind: 'put', key, value: (await valueOf(key)).replace('"t-3"', '"t-9"') }])
    expect((await log.verify()).fault).toEqual({ seq: 3, what: 'its content is not what was recorded' })
  })

  it('names the record behind one that was written anew with a digest of its own', async () => {
    await fill(5)
    const forged = createAuditLog({
      store: createMemoryBackend({ clock: systemClock }).open(),
      clock: systemClock,
      recordsMax: 10,
    })
    await forged.append(entry({ target: 't-1' }))
    const record = await forged.append(entry({ target: 'something else' }))
    await store.commit([], [{ kind: 'put', key: await keyOf(2), value: JSON.stringify(record) }])
    expect((await log.verify()).fault?.seq).toBe(3)
  })

  it('names a record that was removed, that is unreadable, and an end that was cut off', async () => {
    await fill(4)
    const [key, last] = [await keyOf(2), await keyOf(4)]
    const value = await valueOf(key)
    await store.commit([], [{ kind: 'delete', key }])
    expect((await log.verify()).fault).toEqual({ seq: 2, what: 'it is missing' })
    await store.commit([], [{ kind: 'put', key, value: 'nonsense' }])
    expect((await log.verify()).fault).toEqual({ seq: 2, what: 'it cannot be read' })
    await store.commit(
      [],
      [
        { kind: 'put', key, value },
        { kind: 'delete', key: last },
      ],
    )
    expect((await log.verify()).fault).toEqual({ seq: 4, what: 'it is missing' })
  })

  it('keeps so many records, and is still verified from where it begins', async () => {
    await fill(4 * bucketRecords)
    const { entries } = await store.read(keys.audit)
    expect(entries.length).toBeLessThanOrEqual(3 * bucketRecords + 1)
    const verified = await log.verify()
    expect(verified).toMatchObject({ last: 4 * bucketRecords, fault: null })
    expect(verified.first).toBeGreaterThan(bucketRecords - 1)
  })
})

describe('reading', () => {
  it('goes from the newest back, over buckets', async () => {
    await fill(120)
    const page = await log.list({ limit: 70 })
    expect(page.map(({ seq }) => seq)).toEqual(Array.from({ length: 70 }, (_, index) => 120 - index))
    const next = await log.list({ before: 51, limit: 2 })
    expect(next.map(({ target }) => target)).toEqual(['t-50', 't-49'])
    expect(await log.list({ before: 1, limit: 10 })).toEqual([])
  })
})

describe('what is kept', () => {
  it('has no secret', async () => {
    const secrets = [
      'hunter2',
      'fst_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
      'eyJhbGciOi.eyJzdWIi.c2ln',
    ]
    const record = await log.append(
      entry({
        reason: `because of ${secrets[1]!}`,
        target: `postgres://app:hunter2@db/app`,
        after: { password: 'hunter2', nodes: [{ url: 'postgres://a:hunter2@h/d' }], note: secrets[2] },
      }),
    )
    const text = JSON.stringify(record)
    for (const secret of secrets) expect(text).not.toContain(secret)
    expect(record.target).toBe('postgres://app:***@db/app')
  })

  it('is bounded', async () => {
    const record = await log.append(
      entry({ after: { text: 'x'.repeat(100_000) }, reason: 'y'.repeat(5_000) }),
    )
    expect(JSON.stringify(record).length).toBeLessThan(10_000)
    expect(record.after).toEqual({ omitted_bytes: expect.any(Number) as number })
    expect((await log.verify()).fault).toBeNull()
  })

  it('takes any text', async () => {
    await log.append(entry({ reason: 'a\0b \ud800 ü', target: '"}{' }))
    expect(await log.verify()).toMatchObject({ records: 1, fault: null })
  })
})

it('an end that cannot be read stops all appends', async () => {
  await fill(1)
  await store.commit([], [{ kind: 'put', key: keys.auditHead, value: '{}' }])
  await expect(log.append(entry())).rejects.toMatchObject({ code: 'audit_unavailable' })
})
