// The loop of the worker process: sees jobs in the live view of the catalog, claims those of its types under one
// lease, runs a bounded number at once, and lets go what fails or has to wait. Any number of processes may run it.
import { toFleetError, type JobId, type JobRecord } from '@fleetshard/core'
import { holdLease, type CatalogView, type HeldLease } from '../catalog/mod.ts'
import {
  WORKER_METRICS as TABLE,
  type CounterSeries,
  type Family,
  type HistogramSeries,
  type Metrics,
  type Service,
  type Tracing,
  type TraceSpan,
  codeOf,
  SPAN_ATTRIBUTES,
} from '../runtime/mod.ts'
import type { JobProgress, WorkerDefinition, WorkerParts } from './worker.ts'

/** Bounds and rhythms of the loop. */
export interface RunnerOptions {
  /** Jobs at once in this process. */
  readonly jobsMax: number
  /** How long a dead worker's jobs stay claimed. */
  readonly leaseTtlMs: number
  /** Pause of a job that failed or waits: doubles from the first to the second. */
  readonly retryMsMin: number
  readonly retryMsMax: number
  readonly sweepEveryMs: number
}

/** In force where an option is not given. */
export const runnerOptionsDefault: RunnerOptions = {
  jobsMax: 8,
  leaseTtlMs: 10_000,
  retryMsMin: 500,
  retryMsMax: 15_000,
  sweepEveryMs: 60_000,
}

/** What the runner needs besides what workers act with. */
export interface RunnerParts extends WorkerParts {
  /** Unique name of this process, shown as the owner of jobs. */
  readonly worker: string
  readonly view: CatalogView
  readonly definitions: readonly WorkerDefinition[]
  readonly metrics: Metrics
  /** Null, or left out, where there are no traces. */
  readonly tracing?: Tracing | null
  readonly options?: Partial<RunnerOptions>
}

interface Paused {
  readonly until: number
  readonly pauseMs: number
}

/** The service behind `fleetshard worker`. */
export class WorkerRunner implements Service {
  readonly name = 'worker'
  readonly #parts: RunnerParts
  readonly #options: RunnerOptions
  readonly #definitions: ReadonlyMap<string, WorkerDefinition>
  readonly #running = new Map<JobId, Promise<void>>()
  readonly #paused = new Map<JobId, Paused>()
  readonly #turns: Family<readonly ['type', 'outcome'], CounterSeries>
  readonly #turnSeconds: Family<readonly ['type'], HistogramSeries>
  readonly #stop = new AbortController()
  #wake: () => void = () => undefined
  #draining = false
  /** True from the first failure to get a lease until there is one again. */
  #isOut = false

  constructor(parts: RunnerParts) {
    this.#parts = parts
    this.#options = { ...runnerOptionsDefault, ...parts.options }
    this.#definitions = new Map(parts.definitions.map((definition) => [definition.name, definition]))
    const { metrics } = parts
    metrics.observedGauge(TABLE.worker_jobs_running, () => [{ labels: [], value: this.#running.size }])
    this.#turns = metrics.counter(TABLE.worker_job_turns_total)
    this.#turnSeconds = metrics.histogram(TABLE.worker_job_turn_duration_seconds)
  }

  /** Jobs that this process works on now. */
  get running(): readonly JobId[] {
    return [...this.#running.keys()]
  }

  async run(signal: AbortSignal): Promise<void> {
    const stopped = AbortSignal.any([signal, this.#stop.signal])
    const unsubscribe = this.#parts.view.subscribe(() => {
      this.#wake()
    })
    const sweeping = this.#sweepLoop(stopped)
    try {
      while (!stopped.aborted) await this.#workUnderLease(stopped)
    } finally {
      unsubscribe()
      await sweeping
    }
  }

  /** Takes no new job, and resolves when those under way have ended or have to wait. */
  async drain(): Promise<void> {
    this.#draining = true
    await Promise.all(this.#running.values())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the worker is disposed of'))
    this.#wake()
    await Promise.all(this.#running.values())
  }

  /** Holds one lease and works until it is lost or the process stops. */
  async #workUnderLease(stopped: AbortSignal): Promise<void> {
    const { catalog, clock, log } = this.#parts
    try {
      await this.#parts.view.loaded(stopped)
      await using lease = await holdLease(
        { store: catalog.store, clock, log },
        this.#options.leaseTtlMs,
        stopped,
      )
      this.#isOut = false
      const signal = AbortSignal.any([stopped, lease.lost])
      while (!signal.aborted) {
        this.#takeJobs(lease, signal)
        await this.#pause(signal)
      }
      await Promise.all(this.#running.values())
    } catch (error) {
      if (stopped.aborted) return
      // Once an outage: it may last.
      if (!this.#isOut) log.warn({ err: error }, 'no lease for the worker, trying again')
      this.#isOut = true
      await clock.sleep(this.#options.retryMsMin, stopped).catch(() => undefined)
    }
  }

  /** Until something in the catalog changes, a paused job is due, or the signal aborts. */
  async #pause(signal: AbortSignal): Promise<void> {
    const now = this.#parts.clock.monotonic()
    const due = [...this.#paused.values()].map(({ until }) => until - now)
    const waitMs = Math.max(1, Math.min(this.#options.retryMsMax, ...due))
    const woken = new AbortController()
    this.#wake = () => {
      woken.abort(new Error('woken'))
    }
    await this.#parts.clock.sleep(waitMs, AbortSignal.any([signal, woken.signal])).catch(() => undefined)
  }

  #takeJobs(lease: HeldLease, signal: AbortSignal): void {
    if (this.#draining) return
    const { jobs, jobOwners } = this.#parts.view.current()
    const now = this.#parts.clock.monotonic()
    for (const id of this.#paused.keys()) if (!jobs.has(id)) this.#paused.delete(id)
    const open = [...jobs.values()]
      .map(({ record }) => record)
      .filter((job) => isOpen(job) && !jobOwners.has(job.id) && (this.#paused.get(job.id)?.until ?? 0) <= now)
      .sort((a, b) => a.createdAt.localeCompare(b.createdAt))
    for (const job of open) {
      const definition = this.#definitions.get(job.type)
      if (definition === undefined || this.#running.has(job.id)) continue
      if (this.#running.size >= this.#options.jobsMax) return
      const work = this.#runJob(job.id, definition, lease, signal).finally(() => {
        this.#running.delete(job.id)
        this.#wake()
      })
      this.#running.set(job.id, work)
    }
  }

  async #runJob(
    id: JobId,
    definition: WorkerDefinition,
    lease: HeldLease,
    signal: AbortSignal,
  ): Promise<void> {
    const log = this.#parts.log.child({ job: id, type: definition.name })
    const beganMs = this.#parts.clock.monotonic()
    let outcome: string = 'stopped'
    try {
      const progress = await this.#claimAndRun(id, definition, lease, signal)
      outcome = progress.kind
      if (progress.kind === 'ended') this.#paused.delete(id)
      else this.#letGo(id)
      log.debug(progress, 'job let go')
    } catch (error) {
      this.#letGo(id)
      if (signal.aborted) return
      outcome = toFleetError(error).code
      log.warn({ err: error }, 'job step failed, trying again later')
    } finally {
      this.#turns.with(definition.name, outcome).inc()
      this.#turnSeconds.with(definition.name).observe((this.#parts.clock.monotonic() - beganMs) / 1000)
    }
  }

  async #claimAndRun(
    id: JobId,
    definition: WorkerDefinition,
    lease: HeldLease,
    signal: AbortSignal,
  ): Promise<JobProgress> {
    const { catalog, worker } = this.#parts
    await using claim = await catalog.jobs.claim(id, worker, lease, signal)
    if (claim === null) return { kind: 'waiting', reason: 'another worker has it' }
    const job = await catalog.jobs.get(id, signal)
    if (job === null || !isOpen(job.record)) return { kind: 'ended' }
    const log = this.#parts.log.child({ job: id, type: definition.name })
    const span = this.#span(job.record)
    try {
      // Awaited here: the claim is disposed of when the block is left, not when the promise settles.
      return await definition.run(
        { ...this.#parts, log, span },
        { job, claim, signal: AbortSignal.any([signal, claim.lost]) },
      )
    } catch (error) {
      span?.fail(codeOf(error))
      throw error
    } finally {
      span?.end()
    }
  }

  /** Of a turn; part of the trace of the request that asked for the job. */
  #span({ id, type, keyspace, trace }: JobRecord): TraceSpan | null {
    const { tracing = null, worker } = this.#parts
    const { job, jobType, keyspace: ofKeyspace } = SPAN_ATTRIBUTES
    const attributes = { [job]: id, [jobType]: type, [ofKeyspace]: keyspace, 'fleetshard.worker': worker }
    return tracing?.begin(`job ${type}`, { parent: trace ?? null, attributes }) ?? null
  }

  #letGo(id: JobId): void {
    const { retryMsMin, retryMsMax } = this.#options
    const pauseMs = Math.min(retryMsMax, (this.#paused.get(id)?.pauseMs ?? retryMsMin / 2) * 2)
    this.#paused.set(id, { pauseMs, until: this.#parts.clock.monotonic() + pauseMs })
  }

  async #sweepLoop(stopped: AbortSignal): Promise<void> {
    while (!stopped.aborted) {
      await this.#parts.clock.sleep(this.#options.sweepEveryMs, stopped).catch(() => undefined)
      if (stopped.aborted) return
      for (const definition of this.#definitions.values()) await this.#sweep(definition, stopped)
    }
  }

  async #sweep(definition: WorkerDefinition, stopped: AbortSignal): Promise<void> {
    try {
      await definition.sweep?.(this.#parts, stopped)
    } catch (error) {
      if (!stopped.aborted) this.#parts.log.warn({ err: error, type: definition.name }, 'sweep failed')
    }
  }
}

function isOpen(job: JobRecord): boolean {
  return job.status === 'pending' || job.status === 'running'
}
