// Real worker processes, killed as by kill -9 at every step of a split, one after the other, while writers go on: the
// next process takes the job up where the last one died, and nothing that was acknowledged is lost, doubled or in the
// wrong place. The numbers in brackets are the invariants of SPEC.md.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import type { Client } from 'pg'
import { openCatalogStore, type CatalogStore } from '../../catalog/mod.ts'
import { startVersion, testVersions } from '../../engine/postgres/testing.ts'
import { silentLogger, systemClock } from '../../runtime/mod.ts'
import type { KillOrder } from './kill-child.ts'
import { makeFleet, type TestFleet } from './testing.ts'

const leaseTtlMs = 700
const child = fileURLToPath(new URL('./kill-child.ts', import.meta.url))
const [version] = testVersions
if (version === undefined) throw new Error('there is always the embedded server')

let server: Awaited<ReturnType<typeof startVersion>>
let store: CatalogStore
let catalogUrl: string
const children = new Set<ChildProcess>()

beforeAll(async () => {
  server = await startVersion(version)
  const database = await server.createDatabase('catalog')
  catalogUrl = `postgres://${server.user}:${server.password}@${server.host}:${String(server.port)}/${database}`
  store = openCatalogStore(catalogUrl, { clock: systemClock, log: silentLogger })
})
afterEach(() => {
  for (const worker of children) worker.kill('SIGKILL')
  children.clear()
})
afterAll(async () => {
  await store[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

/** Runs a worker process until it has killed itself (where it says) or the job has ended (null). */
async function runWorker(passed: readonly string[], isOver: () => Promise<boolean>): Promise<string | null> {
  const order: KillOrder = { catalogUrl, password: server.password, passed, leaseTtlMs }
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

/** Writes keys of its own by the map until told to stop, as a router that holds nothing back does. */
async function write(
  fleet: TestFleet,
  name: string,
  acknowledged: Map<string, number>,
  signal: AbortSignal,
): Promise<void> {
  const clients = new Map<string, Client>()
  for (let count = 0; !signal.aborted; count += 1) {
    const key = `${name}-${String(count % 200)}`
    const version_ = (acknowledged.get(key) ?? 0) + 1
    const owner = await fleet.owner(key)
    let client = clients.get(owner)
    if (client === undefined) clients.set(owner, (client = await fleet.client(owner)))
    try {
      // Under an idempotency key, as routers do it: both or neither.
      await client.query(
        `with record as (insert into fleetshard.idempotency (key, shard_hash, fingerprint, expires_at)
                         values ($3, $4, 'f', now() + interval '1 hour'))
         insert into t (key, version) values ($1, $2) on conflict (key) do update set version = $2`,
        [key, version_, idOf(key, version_), await fleet.hash(key)],
      )
      acknowledged.set(key, version_)
    } catch (error) {
      // Refused by the fence: the next map says where to go.
      if (!(error instanceof Error && 'code' in error && error.code === 'FS001')) throw error
    }
    await systemClock.sleep(3)
  }
}

const idOf = (key: string, version: number): string => `${key}:${String(version)}`

it('is carried on by another process, wherever a worker is killed (1, 3, 4, 5, 8, 10, 13)', async () => {
  await using fleet = await makeFleet(server, {
    sources: ['a'],
    targets: ['b', 'c'],
    ddl: 'create table t (key text primary key, version int not null, body text); create index on t (version)',
    store,
  })
  await fleet.declare('public.t', { column: 'key', type: 'text' })
  await fleet.sql(
    'a',
    `insert into t select 'old-' || i, 1, repeat('x', 200) from generate_series(1, 3000) i`,
  )
  const acknowledged = new Map<string, number>()
  for (let i = 1; i <= 3000; i += 1) acknowledged.set(`old-${String(i)}`, 1)
  const stop = new AbortController()
  const writing = ['u', 'v', 'w'].map((name) => write(fleet, name, acknowledged, stop.signal))
  for (const one of writing) one.catch(() => undefined) // met below

  const job = await fleet.submit({ kind: 'split' })
  const isOver = async () => (await fleet.job(job)).record.completedAt !== null
  const passed: string[] = []
  while (!(await isOver())) {
    const died = await runWorker(passed, isOver)
    if (died !== null) passed.push(died)
  }
  stop.abort()
  await Promise.all(writing)

  expect((await fleet.job(job)).record).toMatchObject({ status: 'completed', errorMessage: null })
  // Every step there is, and each was died at before and after its effect.
  for (const step of [
    'slot a',
    'unit public.t 1',
    'persist copied',
    'fence',
    'prepare flip',
    'flip',
    'drop slot a',
  ]) {
    expect(passed).toContain(`before ${step}`)
    expect(passed).toContain(`after ${step}`)
  }
  const found = new Map<string, number>()
  for (const shard of ['b', 'c']) {
    for (const row of await fleet.sql(shard, 'select key, version from t')) {
      const key = String(row['key'])
      expect({ key, isTwice: found.has(key), owner: await fleet.owner(key) }).toEqual({
        key,
        isTwice: false,
        owner: shard,
      })
      found.set(key, Number(row['version']))
    }
  }
  const wrong = [...acknowledged].filter(([key, last]) => found.get(key) !== last)
  expect(wrong).toEqual([])
  // Every write is remembered where it would be sent again, and nowhere else.
  const remembered: string[] = []
  for (const shard of ['b', 'c']) {
    for (const { key } of await fleet.sql(shard, 'select key from fleetshard.idempotency')) {
      expect(await fleet.owner(String(key).split(':')[0] ?? '')).toBe(shard)
      remembered.push(String(key))
    }
  }
  const done = [...acknowledged].flatMap(([key, last]) =>
    key.startsWith('old-') ? [] : Array.from({ length: last }, (_, index) => idOf(key, index + 1)),
  )
  expect(remembered.toSorted()).toEqual(done.toSorted())
}, 1_200_000)
