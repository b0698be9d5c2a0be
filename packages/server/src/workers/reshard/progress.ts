// Writes down how far a copy is and what its sources bear, now and then, and learns on the way what the operator wants.
import type { ReshardJobDetail, SourceFigures } from '../../engine/mod.ts'
import { note, type ReshardJob } from './job-store.ts'
import { reshardMachine } from './machine.ts'
import type { Movement } from './movement.ts'
import type { SourceMover } from './source-mover.ts'
import { namesOf, type ReshardStep } from './step.ts'
import { throttleReason } from './throttle.ts'

/** How often the progress is written down. */
const noteEveryMs = 1_000
/** Between two looks at a source that cannot bear more. */
const throttlePauseMs = 500

type Figures = NonNullable<ReshardJobDetail['figures']>

/** Of one copy, in this run of the worker; the movers of several sources share it. */
export class Progress {
  readonly #step: ReshardStep
  readonly #movement: Movement
  readonly #beganMs: number
  readonly #rowsBefore: number
  /** As each source was seen last. */
  readonly #sources = new Map<
    SourceMover,
    SourceFigures & { readonly lagMs: number; throttle: string | null }
  >()
  #job: ReshardJob
  #lastMs: number
  #writing: Promise<ReshardJob> | null = null

  constructor(step: ReshardStep, job: ReshardJob, movement: Movement) {
    this.#step = step
    this.#movement = movement
    this.#job = job
    this.#lastMs = step.parts.clock.monotonic()
    this.#beganMs = this.#lastMs
    this.#rowsBefore = this.#rowsCopied()
  }

  get isInterrupted(): boolean {
    return this.#job.detail.order !== 'run'
  }

  /**
   * Waits until the targets have all that was committed on the source, and then as long as the source cannot bear
   * another unit. @throws FleetError `reshard_refused` when it cannot bear the job
   */
  async untilBearable(mover: SourceMover): Promise<void> {
    const { parts, throttleBounds } = this.#step
    const { signal } = this.#movement
    for (;;) {
      const lagMs = await this.#reach(mover)
      const figures = await this.#look(mover)
      const throttle = throttleReason(figures, throttleBounds)
      this.#sources.set(mover, { ...figures, lagMs, throttle })
      if (throttle === null) return
      parts.log.info({ source: mover.source, throttle }, 'the copy waits')
      await this.write()
      if (this.isInterrupted) return
      await parts.clock.sleep(throttlePauseMs, signal)
    }
  }

  async tick(): Promise<void> {
    if (this.#step.parts.clock.monotonic() - this.#lastMs < noteEveryMs) return
    await this.write()
  }

  /** One at a time. */
  async write(): Promise<ReshardJob> {
    await this.#writing
    this.#writing = this.#write()
    return this.#writing
  }

  /** The time in which everything that was committed at its beginning came to the targets. */
  async #reach(mover: SourceMover): Promise<number> {
    const { clock } = this.#step.parts
    const began = clock.monotonic()
    await mover.reach(this.#movement.signal)
    return clock.monotonic() - began
  }

  async #look(mover: SourceMover): Promise<SourceFigures> {
    const place = this.#movement.sources.find(({ shard }) => shard.id === mover.source)
    if (place === undefined) throw new Error(`the source ${mover.source} is not of the movement`)
    const { slot } = namesOf(this.#job, mover.source)
    return this.#step.engine.sourceFigures(place.target, slot, this.#movement.signal)
  }

  #rowsCopied(): number {
    return this.#movement.movers
      .flatMap(({ units }) => [...units.values()])
      .reduce((sum, { rows }) => sum + rows, 0)
  }

  async #write(): Promise<ReshardJob> {
    const rowsCopied = this.#rowsCopied()
    const { rowsTotal, bytesTotal } = this.#job.detail
    const total = Math.max(rowsTotal, rowsCopied)
    const part = total === 0 ? 1 : rowsCopied / total
    const from = reshardMachine.copying.progress
    const to = reshardMachine.catching_up.progress
    this.#job = await note(this.#step.parts, this.#step.run, this.#job, {
      progress: from + (to - from) * part,
      detail: {
        rowsCopied,
        rowsTotal: total,
        bytesCopied: Math.round(bytesTotal * part),
        figures: this.#figures(rowsCopied, total, bytesTotal),
      },
    })
    this.#lastMs = this.#step.parts.clock.monotonic()
    return this.#job
  }

  /** The worst of all sources; rates since this run began. */
  #figures(rowsCopied: number, rowsTotal: number, bytesTotal: number): Figures {
    const { clock } = this.#step.parts
    const seen = [...this.#sources.values()]
    const most = (read: (one: (typeof seen)[number]) => number): number => Math.max(0, ...seen.map(read))
    const elapsedMs = Math.max(1, clock.monotonic() - this.#beganMs)
    const rowsPerSecond = ((rowsCopied - this.#rowsBefore) * 1000) / elapsedMs
    const bytesPerRow = rowsTotal === 0 ? 0 : bytesTotal / rowsTotal
    return {
      at: new Date(clock.now()).toISOString(),
      lagMs: Math.round(most(({ lagMs }) => lagMs)),
      lagBytes: most(({ lagBytes }) => lagBytes),
      retainedWalBytes: most(({ retainedWalBytes }) => retainedWalBytes),
      replicaLagBytes: most(({ replicaLagBytes }) => replicaLagBytes ?? 0),
      rowsPerSecond: Math.round(rowsPerSecond),
      bytesPerSecond: Math.round(rowsPerSecond * bytesPerRow),
      etaMs: rowsPerSecond === 0 ? null : Math.round(((rowsTotal - rowsCopied) * 1000) / rowsPerSecond),
      throttle: seen.find(({ throttle }) => throttle !== null)?.throttle ?? null,
    }
  }
}
