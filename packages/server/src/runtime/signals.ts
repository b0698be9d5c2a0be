// Signals of the operating system as AbortSignals: the first asks for a stop, the second forces it, the third ends
// the process on the spot.
import { FleetError, type Clock } from '@fleetshard/core'

/**
 * Signals that follow each other faster are one: under npm a Ctrl-C comes twice, from the terminal and from npm,
 * and nobody presses it twice so fast.
 */
export const duplicateSignalMs = 250

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
/** A signal that asks the process to stop. */
export type StopSignal = (typeof SIGNALS)[number]

/** What {@link stopSignals} listens on: the process, or a stand-in for tests. */
export interface SignalSource {
  on(event: StopSignal, listener: (signal: StopSignal) => void): unknown
  off(event: StopSignal, listener: (signal: StopSignal) => void): unknown
}

/** Stop requests from outside. Dispose to hand the signals back to the default behaviour. */
export interface StopSignals extends Disposable {
  /** Aborts at the first signal. The reason is a FleetError `shutting_down`. */
  readonly stop: AbortSignal
  /** Aborts at the second one: draining is over. */
  readonly forced: AbortSignal
  /** The first signal that came, else null. */
  received(): StopSignal | null
}

/** What {@link stopSignals} does on the way; both optional. */
export interface StopSignalHooks {
  /** Told at the first signal, to print how to force the stop. */
  readonly onStop?: (signal: StopSignal) => void
  /** Ends the process at the third signal with 128 + the signal's number. */
  readonly exit?: (code: number) => void
}

/** Listens for SIGINT, SIGTERM and SIGHUP until disposed. */
export function stopSignals(source: SignalSource, clock: Clock, hooks: StopSignalHooks = {}): StopSignals {
  const stop = new AbortController()
  const forced = new AbortController()
  let first: StopSignal | null = null
  let lastMs = Number.NEGATIVE_INFINITY
  const listener = (signal: StopSignal): void => {
    const nowMs = clock.monotonic()
    const sinceLastMs = nowMs - lastMs
    lastMs = nowMs
    if (sinceLastMs < duplicateSignalMs) return
    const reason = new FleetError('shutting_down', `stopped by ${signal}`)
    if (!stop.signal.aborted) {
      first = signal
      hooks.onStop?.(signal)
      stop.abort(reason)
    } else if (!forced.signal.aborted) forced.abort(reason)
    else hooks.exit?.(signalExitCode(signal))
  }
  for (const signal of SIGNALS) source.on(signal, listener)
  return {
    stop: stop.signal,
    forced: forced.signal,
    received: () => first,
    [Symbol.dispose]() {
      for (const signal of SIGNALS) source.off(signal, listener)
    },
  }
}

/** The exit code by which shells tell that a signal ended a process: 130 for SIGINT. */
export function signalExitCode(signal: StopSignal): number {
  return 128 + { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 }[signal]
}
