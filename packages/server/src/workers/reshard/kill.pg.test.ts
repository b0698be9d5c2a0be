// Real worker processes, killed as by kill -9 at every step of a split, one after the other, while writers go on: the
// next process takes the job up where the last one died, and nothing that was acknowledged is lost, doubled or in the
// wrong place. The numbers in brackets are the invariants of SPEC.md.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { parseKey, type JobRecord, type ShardMap } from '@fleetshard/core'
import { openCatalogStore } from '../../catalog/mod.ts'
import { parseReshardJobDetail } from '../../engine/mod.ts'
import { startVersion, testVersions } from '../../engine/postgres/testing.ts'
import { silentLogger, systemClock } from '../../runtime/mod.ts'
import type { KillOrder } from './kill-child.ts'
import { recordOf, write, type Written } from './testing-writer.ts'
import { makeFleet, type TestFleet } from './testing.ts'

const leaseTtlMs = 700
const child = fileURLToPath(new URL('./kill-child.ts', import.meta.url))
const [version] = testVersions
if (version === undefined) throw new Error('there is always the embedded server')

let server: Awaited<ReturnType<typeof startVersion>>
const children = new Set<ChildProcess>()

beforeAll(async () => {
  server = await startVersion(version)
})
afterEach(() => {
  for (const worker of children) worker.kill('SIGKILL')
  children.clear()
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
})

/** Runs a worker process until it has killed itself (where it says) or the job has ended (null). */
async function runWorker(
  dying: Omit<KillOrder, 'password' | 'leaseTtlMs'>,
  isOver: () => Promise<boolean>,
): Promise<string | null> {
  const order: KillOrder = { ...dying, password: server.password, leaseTtlMs }
  const worker = fork(child, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: [] })
  children.add(worker)
  let died: string | null = null
  worker.on('message', (name) => {
    if (typeof name === 'string') died = name
  })
  const exited = once(worker, 'exit')
  worker.send(order)
  let isRunning = true
  void exited.then(() => (isRunning = false))
  while (isRunning && !(await isOver())) await systemClock.sleep(50)
  worker.kill('SIGKILL')
  await exited
  children.delete(worker)
  return died
}

interface Killed {
  readonly sources: readonly string[]
  readonly targets: readonly string[]
  readonly order: Parameters<TestFleet['submit']>[0]
  /** Steps to die at, before and after; null: all. */
  readonly only: readonly string[] | null
  /** Of those: the test is no test when they were passed by. */
  readonly steps: readonly string[]
  /** The rows are brought back. */
  readonly isReversed?: boolean
}

/** Runs the job under writers by workers that die at every step, and makes the account. */
async function expectWhole({ sources, targets, order, only, steps, isReversed }: Killed): Promise<void> {
  const database = await server.createDatabase()
  const { user, password, host, port } = server
  const catalogUrl = `postgres://${user}:${password}@${host}:${String(port)}/${database}`
  await using store = openCatalogStore(catalogUrl, { clock: systemClock, log: silentLogger })
  await using fleet = await makeFleet(server, {
    sources,
    targets,
    ddl: 'create table t (key text primary key, version int not null, body text); create index on t (version)',
    store,
  })
  await fleet.declare('public.t', { column: 'key', type: 'text' })
  await fleet.rememberKeys()
  const written = new Map<string, Written>()
  const first = { acknowledged: 1, tried: 1, versions: [] }
  const old = Array.from({ length: 3000 }, (_, index) => `old-${String(index)}`)
  const ownerOf = ownersBy(await fleet.map())
  const owners = Map.groupBy(old, ownerOf)
  for (const [owner, names] of owners) {
    await fleet.sql(owner, `insert into t select key, 1, repeat('x', 200) from unnest($1::text[]) key`, [
      names,
    ])
    for (const key of names) written.set(key, first)
  }
  const stop = new AbortController()
  const writing = ['u', 'v', 'w'].map((name) => write(fleet, name, written, stop.signal))
  for (const one of writing) one.catch(() => undefined) // met below

  const job = await fleet.submit(order)
  const isOver = async () => (await fleet.job(job)).record.completedAt !== null
  const passed: string[] = []
  while (!(await isOver())) {
    const died = await runWorker({ catalogUrl, passed, only }, isOver)
    if (died !== null) passed.push(died)
    // The order stands before the next worker looks.
    if (isReversed === true && (await fleet.job(job)).record.state === 'reversible')
      await orderReverse(fleet, job.id)
  }
  stop.abort()
  await Promise.all(writing)

  const end = isReversed === true ? 'rolled_back' : 'completed'
  expect((await fleet.job(job)).record).toMatchObject({ state: end, errorMessage: null })
  for (const step of steps) {
    expect(passed).toContain(`before ${step}`)
    expect(passed).toContain(`after ${step}`)
  }
  // Where rows were removed in the end none is left.
  const isEverywhere = keeps(order) || isReversed === true
  await account(fleet, written, isEverywhere ? [...sources, ...targets] : targets)
}

const orderReverse = (fleet: TestFleet, id: JobRecord['id']) =>
  fleet.catalog.jobs.update(id, (found) => ({
    ...found,
    detail: { ...parseReshardJobDetail(found.detail), order: 'reverse' },
  }))

const ownersBy =
  (map: ShardMap) =>
  (key: string): string =>
    map.shardFor(parseKey(key, 'text'), 'text').id

/** True when the sources stay. */
const keeps = ({ kind, keepSource }: Killed['order']): boolean => kind === 'rebalance' || keepSource === true

/** Every row and every record is there once, on its owner, at a version that may be. */
async function account(
  fleet: TestFleet,
  written: ReadonlyMap<string, Written>,
  shards: readonly string[],
): Promise<void> {
  const ownerOf = ownersBy(await fleet.map())
  const found = new Map<string, number>()
  const remembered = new Set<string>()
  for (const shard of shards) {
    for (const row of await fleet.sql(shard, 'select key, version from t')) {
      const key = String(row['key'])
      const seen = { key, isTwice: found.has(key), owner: ownerOf(key) }
      expect(seen).toEqual({ key, isTwice: false, owner: shard })
      found.set(key, Number(row['version']))
    }
    for (const row of await fleet.sql(shard, 'select key from fleetshard.idempotency')) {
      const key = String(row['key'])
      const seen = { key, isTwice: remembered.has(key), owner: ownerOf(key.split(':')[0] ?? '') }
      expect(seen).toEqual({ key, isTwice: false, owner: shard })
      remembered.add(key)
    }
  }
  const wrong = [...written].filter(([key, { acknowledged, tried }]) => {
    const version = found.get(key) ?? 0
    return version < acknowledged || version > tried
  })
  expect(wrong).toEqual([])
  // What was acknowledged is remembered where it would be sent again.
  const forgotten = [...written].flatMap(([key, { versions }]) =>
    versions.map((version) => recordOf(key, version)).filter((record) => !remembered.has(record)),
  )
  expect(forgotten).toEqual([])
}

const testMsMax = 2_400_000

it(
  'is carried on by another process, wherever a worker is killed (1, 3, 4, 5, 8, 10, 13)',
  () =>
    expectWhole({
      sources: ['a'],
      targets: ['b', 'c'],
      order: { kind: 'split' },
      only: null,
      steps: ['slot a', 'unit public.t 1', 'persist copied', 'fence', 'prepare flip', 'flip', 'drop slot a'],
    }),
  testMsMax,
)

const partialSteps = ['persist copied', 'fence', 'prepare flip', 'flip']

it(
  'takes a part of a shard in the same way, wherever a worker is killed after the copy (7, 8, 14, 15)',
  () => {
    const steps = [...partialSteps, 'drop fences a', 'remove rows of public.t on a', 'leave b']
    return expectWhole({
      sources: ['a'],
      targets: ['b'],
      order: { kind: 'split', keepSource: true },
      only: [...steps, 'persist cleaned'],
      steps,
    })
  },
  testMsMax,
)

it(
  'takes a part of two shards for a third in the same way (14, 15, 16)',
  () => {
    const steps = [...partialSteps, 'drop fences b', 'remove rows of public.t on b']
    return expectWhole({
      sources: ['a', 'b'],
      targets: ['c'],
      order: { kind: 'rebalance' },
      only: [...steps, 'persist cleaned'],
      steps,
    })
  },
  testMsMax,
)

it(
  'brings rows back in the same way, wherever a worker is killed from the flip on (8, 9, 10, 18, 19)',
  () => {
    const there = [
      'back slot b',
      'flip',
      'close a',
      'drop slot a',
      'drop fences a',
      'strip a for the way back',
    ]
    const cutover = ['calm back', 'hold back', 'release back', 'fence back', 'prepare flip back', 'flip back']
    const steps = [...there, ...cutover, 'close b', 'drop back slot b', 'empty b', 'leave a']
    return expectWhole({
      sources: ['a'],
      targets: ['b', 'c'],
      order: { kind: 'split', reversibleMs: 3_600_000 },
      only: [...steps, 'persist removed'],
      steps,
      isReversed: true,
    })
  },
  testMsMax,
)
