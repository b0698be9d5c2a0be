// The shape of everything that lives long, and the running of several such things as one: started in order, drained
// and stopped in reverse, all stopped when one fails.
import { FleetError, type Clock } from '@fleetshard/core'
import type { Logger } from './log.ts'

/** Constructors do no I/O; `run` does, until the signal aborts or it fails. */
export interface Service extends AsyncDisposable {
  readonly name: string
  /** Resolves when stopped by the signal; rejects when it cannot go on. */
  run(signal: AbortSignal): Promise<void>
  /** Takes no new work and resolves when what was begun is done. Idempotent. */
  drain(): Promise<void>
  /**
   * Resolves once others may rely on the service; asked after `run` was called. A failure to start is told by `run`
   * alone: this may stay pending then. Absent: ready at once.
   */
  ready?(): Promise<void>
}

/** What a group needs. */
export interface GroupOptions {
  readonly log: Logger
  readonly clock: Clock
  /** For all drains together; what is not done then is stopped. */
  readonly drainMs: number
  /** For one service to return after its signal aborted; a service that does not is left behind with a log line. */
  readonly stopMs?: number
  /** Skips what is left of draining when it aborts (a second Ctrl-C). */
  readonly forced?: AbortSignal
}

const stopMsDefault = 10_000

interface Running {
  readonly service: Service
  readonly stop: AbortController
  /** Never rejects: the failure, or null after a stop that was asked for. */
  readonly ended: Promise<unknown>
}

/**
 * Several services as one. `run` starts them in order, each when the one before is ready; resolves after all have
 * stopped because the signal aborted; rejects with the first failure after the others have stopped.
 */
export function serviceGroup(name: string, services: readonly Service[], options: GroupOptions): Service {
  const group = new Group(services, options)
  return {
    name,
    run: (signal) => group.run(signal),
    ready: () => group.started.promise,
    drain: () => group.drain(),
    [Symbol.asyncDispose]: () => group.dispose(),
  }
}

class Group {
  readonly started = Promise.withResolvers<void>()
  readonly #services: readonly Service[]
  readonly #options: GroupOptions
  readonly #running: Running[] = []

  constructor(services: readonly Service[], options: GroupOptions) {
    this.#services = services
    this.#options = options
  }

  async run(signal: AbortSignal): Promise<void> {
    const stopAsked = aborted(signal)
    const failed = Promise.withResolvers<unknown>()
    let failure: unknown = await this.#startAll(signal, stopAsked.promise, failed)
    failure ??= await Promise.race([stopAsked.promise, failed.promise])
    stopAsked.dispose()
    await this.#stopAll()
    if (failure !== null) throw failure
  }

  async drain(): Promise<void> {
    for (const { service } of this.#running.toReversed()) await service.drain()
  }

  async dispose(): Promise<void> {
    for (const service of this.#services.toReversed()) await service[Symbol.asyncDispose]()
  }

  /** The first failure, or null once all are ready or a stop was asked for. */
  async #startAll(
    signal: AbortSignal,
    stopAsked: Promise<null>,
    failed: PromiseWithResolvers<unknown>,
  ): Promise<unknown> {
    for (const service of this.#services) {
      if (signal.aborted) return null
      const running = start(service)
      this.#running.push(running)
      void running.ended.then((failure) => {
        if (failure !== null) failed.resolve(failure)
      })
      const ready = (service.ready?.() ?? Promise.resolve()).then(() => null)
      const outcome = await Promise.race([running.ended, failed.promise, ready, stopAsked])
      if (outcome !== null) return outcome
    }
    if (!signal.aborted) this.started.resolve()
    return null
  }

  async #stopAll(): Promise<void> {
    const { clock, log, drainMs, stopMs = stopMsDefault, forced } = this.#options
    const deadline = new AbortController()
    const cancel = clock.after(drainMs, () => {
      deadline.abort()
    })
    const signal = forced === undefined ? deadline.signal : AbortSignal.any([deadline.signal, forced])
    for (const running of this.#running.toReversed()) {
      await this.#drainOne(running, signal)
      running.stop.abort(new FleetError('shutting_down', `${running.service.name} is stopping`))
      const left = await within(running.ended, stopMs, clock)
      if (left === 'late')
        log.error({ service: running.service.name, stopMs }, 'service did not stop in time')
    }
    cancel()
  }

  async #drainOne({ service, ended }: Running, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    const late = aborted(signal)
    try {
      const drained = service.drain().then(() => 'drained' as const)
      const outcome = await Promise.race([drained, ended.then(() => 'ended' as const), late.promise])
      if (outcome === null)
        this.#options.log.warn({ service: service.name }, 'service was stopped before it had drained')
      drained.catch(() => undefined)
    } catch (error) {
      this.#options.log.warn({ service: service.name, err: error }, 'service could not drain')
    } finally {
      late.dispose()
    }
  }
}

function start(service: Service): Running {
  const stop = new AbortController()
  const ended = service.run(stop.signal).then(
    () =>
      stop.signal.aborted ? null : new FleetError('internal', `${service.name} ended without being asked to`),
    (error: unknown) =>
      stop.signal.aborted ? null : (error ?? new FleetError('internal', `${service.name} failed`)),
  )
  return { service, stop, ended }
}

/** Resolves with null when the signal aborts. `dispose` takes the listener away. */
function aborted(signal: AbortSignal): { readonly promise: Promise<null>; dispose(): void } {
  const { promise, resolve } = Promise.withResolvers<null>()
  const onAbort = (): void => {
    resolve(null)
  }
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  return {
    promise,
    dispose() {
      signal.removeEventListener('abort', onAbort)
    },
  }
}

async function within(promise: Promise<unknown>, ms: number, clock: Clock): Promise<'done' | 'late'> {
  const late = Promise.withResolvers<'late'>()
  const cancel = clock.after(ms, () => {
    late.resolve('late')
  })
  const outcome = await Promise.race([promise.then(() => 'done' as const), late.promise])
  cancel()
  return outcome
}
