// The worker loop on a memory catalog: jobs are found, claimed by one, bounded, let go and taken up again.
import { randomUUID } from 'node:crypto'
import { FleetError, parseJobId, parseKeyspaceName, type JobId, type JobRecord } from '@fleetshard/core'
import { describe, expect, it } from 'vitest'
import { createMemoryBackend, type MemoryBackend } from '../catalog/backends/memory/mod.ts'
import { createCatalog, createCatalogView, type Catalog } from '../catalog/mod.ts'
import { createMetrics, silentLogger, systemClock } from '../runtime/mod.ts'
import { WorkerRunner, type RunnerOptions } from './runner.ts'
import { defineWorker, type JobRun, type WorkerDefinition, type WorkerParts } from './worker.ts'

const options: RunnerOptions = {
  jobsMax: 2,
  leaseTtlMs: 2_000,
  retryMsMin: 5,
  retryMsMax: 20,
  sweepEveryMs: 20,
}

/** A gate that a test opens. */
function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  const { promise, resolve } = Promise.withResolvers<undefined>()
  return {
    opened: promise,
    open: () => {
      resolve(undefined)
    },
  }
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await systemClock.sleep(1)
}

class Bench implements AsyncDisposable {
  readonly backend: MemoryBackend = createMemoryBackend({ clock: systemClock })
  readonly catalog: Catalog
  readonly #stop = new AbortController()
  readonly metrics = createMetrics(false)
  readonly #running: Promise<void>[] = []
  #jobs = 0

  constructor() {
    this.catalog = createCatalog({ store: this.backend.open(), clock: systemClock, uuid: randomUUID })
  }

  start(definition: WorkerDefinition, change: Partial<RunnerOptions> = {}): WorkerRunner {
    const store = this.backend.open()
    const catalog = createCatalog({ store, clock: systemClock, uuid: randomUUID })
    const deps = { store, clock: systemClock, log: silentLogger }
    const view = createCatalogView(deps)
    const refuse = (): never => {
      throw new Error('no engine in this test')
    }
    const runner = new WorkerRunner({
      // Each a process of its own; the first one's are looked at.
      metrics: this.#running.length === 0 ? this.metrics : createMetrics(false),
      ...deps,
      catalog,
      view,
      engineOf: refuse,
      targetOf: refuse,
      worker: `worker-${randomUUID().slice(0, 8)}`,
      definitions: [definition],
      options: { ...options, ...change },
    })
    this.#running.push(view.run(this.#stop.signal), runner.run(this.#stop.signal))
    return runner
  }

  async submit(type = 'test'): Promise<JobId> {
    this.#jobs += 1
    const id = parseJobId(`job-${String(this.#jobs)}`)
    await this.catalog.jobs.create({
      id,
      type,
      keyspace: parseKeyspaceName('app'),
      status: 'pending',
      state: 'new',
      progress: 0,
      detail: null,
      errorCode: null,
      errorMessage: null,
      version: 1,
      createdAt: new Date(this.#jobs).toISOString(),
      startedAt: null,
      completedAt: null,
    })
    return id
  }

  async job(id: JobId): Promise<JobRecord> {
    const found = await this.catalog.jobs.get(id)
    if (found === null) throw new Error('the job is gone')
    return found.record
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the test is over'))
    await Promise.allSettled(this.#running)
  }
}

async function complete(parts: WorkerParts, run: JobRun): Promise<{ kind: 'ended' }> {
  await parts.catalog.jobs.update(run.job.record.id, (job) => ({ ...job, status: 'completed' }), {
    conditions: [run.claim.condition],
  })
  return { kind: 'ended' }
}

describe('worker runner', () => {
  it('counts its turns at jobs by how they were left', async () => {
    await using bench = new Bench()
    let turns = 0
    bench.start(
      defineWorker({
        name: 'test',
        run: (parts, run) => {
          turns += 1
          if (turns === 1) throw new FleetError('shard_unavailable', 'not yet')
          if (turns === 2) return Promise.resolve({ kind: 'waiting', reason: 'for a while' })
          return complete(parts, run)
        },
      }),
    )
    await bench.submit()
    const turnsOf = (outcome: string): string =>
      `fleetshard_worker_job_turns_total{type="test",outcome="${outcome}"} 1\n`
    await until(async () => (await bench.metrics.text()).includes(turnsOf('ended')))
    const text = await bench.metrics.text()
    expect(text).toContain(turnsOf('shard_unavailable'))
    expect(text).toContain(turnsOf('waiting'))
    expect(text).toContain('fleetshard_worker_job_turn_duration_seconds_count{type="test"} 3\n')
  })

  it('runs the jobs of its type and leaves others alone', async () => {
    await using bench = new Bench()
    const foreign = await bench.submit('other')
    const before = await bench.submit()
    bench.start(defineWorker({ name: 'test', run: complete }))
    await until(async () => (await bench.job(before)).status === 'completed')
    const after = await bench.submit()
    await until(async () => (await bench.job(after)).status === 'completed')
    expect((await bench.job(foreign)).status).toBe('pending')
    await until(async () => (await bench.catalog.jobs.owner(after)) === null)
  })

  it('gives each job to one of several processes', async () => {
    await using bench = new Bench()
    const seen: JobId[] = []
    const active = new Set<JobId>()
    const definition = defineWorker({
      name: 'test',
      run: async (parts, run) => {
        const { id } = run.job.record
        if (active.has(id)) throw new Error('two at once')
        active.add(id)
        seen.push(id)
        await systemClock.sleep(1)
        const ended = await complete(parts, run)
        active.delete(id)
        return ended
      },
    })
    bench.start(definition)
    bench.start(definition)
    bench.start(definition)
    const ids = await Promise.all(Array.from({ length: 12 }, () => bench.submit()))
    await until(async () => (await bench.catalog.jobs.list({ status: ['completed'] })).length === ids.length)
    expect(seen.toSorted()).toEqual([...ids].toSorted())
  })

  it('takes up again what waits or fails, and keeps the claim while it runs', async () => {
    await using bench = new Bench()
    let runs = 0
    let owned = false
    bench.start(
      defineWorker({
        name: 'test',
        run: async (parts, run) => {
          runs += 1
          if (runs === 1) return { kind: 'waiting', reason: 'not yet' }
          if (runs === 2) throw new FleetError('shard_unavailable', 'away')
          await systemClock.sleep(1)
          owned = (await parts.catalog.jobs.owner(run.job.record.id)) !== null
          return complete(parts, run)
        },
      }),
    )
    const id = await bench.submit()
    await until(async () => (await bench.job(id)).status === 'completed')
    expect({ runs, owned }).toEqual({ runs: 3, owned: true })
  })

  it('works on no more jobs at once than it may', async () => {
    await using bench = new Bench()
    const door = gate()
    let most = 0
    let now = 0
    const runner = bench.start(
      defineWorker({
        name: 'test',
        run: async (parts, run) => {
          now += 1
          most = Math.max(most, now)
          await door.opened
          now -= 1
          return complete(parts, run)
        },
      }),
    )
    await Promise.all(Array.from({ length: 6 }, () => bench.submit()))
    await until(() => runner.running.length === 2)
    door.open()
    await until(async () => (await bench.catalog.jobs.list({ status: ['completed'] })).length === 6)
    expect(most).toBe(2)
  })

  it('drains: ends what it has begun and takes nothing new', async () => {
    await using bench = new Bench()
    const door = gate()
    const runner = bench.start(
      defineWorker({
        name: 'test',
        run: async (parts, run) => {
          await door.opened
          return complete(parts, run)
        },
      }),
    )
    const first = await bench.submit()
    await until(() => runner.running.includes(first))
    const drained = runner.drain()
    const second = await bench.submit()
    door.open()
    await drained
    expect((await bench.job(first)).status).toBe('completed')
    expect((await bench.job(second)).status).toBe('pending')
    expect(runner.running).toEqual([])
  })

  it('tells a job that its claim is lost, and another process goes on', async () => {
    await using bench = new Bench()
    let lost: unknown = null
    const stuck = defineWorker({
      name: 'test',
      run: async (_, run) => {
        await new Promise<void>((resolve) => {
          run.signal.addEventListener('abort', () => {
            lost = run.signal.reason
            resolve()
          })
        })
        run.signal.throwIfAborted()
        return { kind: 'ended' }
      },
    })
    await using sleepy = bench.start(stuck, { leaseTtlMs: 300 })
    const id = await bench.submit()
    await until(() => sleepy.running.includes(id))
    bench.backend.setReachable(false)
    await until(() => lost !== null)
    bench.backend.setReachable(true)
    expect(lost).toMatchObject({ code: 'lease_lost' })
    await sleepy[Symbol.asyncDispose]()
    bench.start(defineWorker({ name: 'test', run: complete }))
    await until(async () => (await bench.job(id)).status === 'completed')
  })

  it('sweeps again and again, also after a failure', async () => {
    await using bench = new Bench()
    let sweeps = 0
    bench.start(
      defineWorker({
        name: 'test',
        run: complete,
        sweep: () => {
          sweeps += 1
          return sweeps === 1 ? Promise.reject(new Error('once')) : Promise.resolve()
        },
      }),
    )
    await until(() => sweeps >= 3)
  })
})
