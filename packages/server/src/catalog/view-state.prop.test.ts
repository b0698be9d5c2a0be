import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { KeyRevision, StoreChange, StoreEntry } from './store.ts'
import { app, sampleJob, sampleKeyspace, sampleShard, sampleTable } from './testing/sample-records.ts'
import { createStateBuilder } from './view-state.ts'

const values: Readonly<Record<string, string>> = {
  'keyspaces/app': JSON.stringify(sampleKeyspace()),
  'keyspaces/app/shards/a': JSON.stringify(sampleShard('a')),
  'keyspaces/app/shards/b': JSON.stringify(sampleShard('b')),
  'keyspaces/app/tables/t': JSON.stringify(sampleTable('t')),
  'jobs/j': JSON.stringify(sampleJob('j')),
  'secrets/s': '{"value":"hidden"}',
}

type Step =
  | { readonly kind: 'commit'; readonly keys: readonly string[]; readonly how: 'put' | 'delete' | 'corrupt' }
  | { readonly kind: 'reload' }

const steps = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant('commit' as const),
      keys: fc.subarray(Object.keys(values), { minLength: 1 }),
      how: fc.oneof(
        { weight: 5, arbitrary: fc.constant('put' as const) },
        { weight: 2, arbitrary: fc.constant('delete' as const) },
        { weight: 1, arbitrary: fc.constant('corrupt' as const) },
      ),
    }),
    fc.record({ kind: fc.constant('reload' as const) }),
  ),
  { maxLength: 30 },
)

/** A store's content, to which commits are made. */
function createContent() {
  const entries = new Map<string, StoreEntry>()
  let revision = 0
  return {
    entries: () => [...entries.values()],
    apply({ keys, how }: Extract<Step, { kind: 'commit' }>): StoreChange[] {
      revision++
      const at = String(revision) as KeyRevision
      const epoch: StoreEntry = {
        key: 'keyspaces/app/epoch',
        value: JSON.stringify({ epoch: revision }),
        revision: at,
      }
      entries.set(epoch.key, epoch)
      const changes = keys
        .filter((key) => how !== 'delete' || entries.has(key))
        .map((key): StoreChange => {
          if (how === 'delete') return { kind: 'delete', key }
          return { kind: 'put', key, value: how === 'put' ? (values[key] ?? '') : '{"half":', revision: at }
        })
      for (const change of changes) {
        if (change.kind === 'delete') entries.delete(change.key)
        else entries.set(change.key, change)
      }
      return [{ kind: 'put', ...epoch }, ...changes]
    },
  }
}

describe('view states', () => {
  it('are what a fresh load gives, however they were reached, unless something is corrupt', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        const content = createContent()
        const builder = createStateBuilder()
        let pending: StoreChange[][] = []
        let epoch = 0
        for (const step of sequence) {
          if (step.kind === 'commit') pending.push(content.apply(step))
          // A reload skips what was pending: the history was compacted.
          else if (pending.length > 1) {
            builder.load(content.entries())
            pending = []
          }
          const [next] = pending.splice(0, step.kind === 'commit' && pending.length < 3 ? 1 : 0)
          if (next !== undefined) builder.apply(next)
          const now = builder.current().keyspaces.get(app)?.epoch ?? epoch
          expect(now).toBeGreaterThanOrEqual(epoch)
          epoch = now
        }
        for (const changes of pending) builder.apply(changes)
        const fresh = createStateBuilder()
        fresh.load(content.entries())
        const [kept, loaded] = [builder.current(), fresh.current()]
        expect(kept.jobs).toEqual(loaded.jobs)
        expect(new Set(kept.corrupt.keys())).toEqual(new Set(loaded.corrupt.keys()))
        const isWhole = ![...kept.corrupt.keys()].some((key) => key.startsWith('keyspaces/'))
        if (isWhole) expect([kept.keyspaces, kept.stored]).toEqual([loaded.keyspaces, loaded.stored])
        else expect(loaded.keyspaces.size).toBe(0)
      }),
    )
  })

  it('tell nothing when a load finds what is known', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        const content = createContent()
        const builder = createStateBuilder()
        for (const step of sequence) if (step.kind === 'commit') builder.apply(content.apply(step))
        const before = builder.current()
        expect(builder.load(content.entries())).toBeNull()
        expect(builder.current()).toBe(before)
      }),
    )
  })
})
