// Time as a parameter: production passes the system clock, tests pass one that they advance themselves.

/** Time and timers. Milliseconds everywhere. */
export interface Clock {
  /** Wall time since 1970, milliseconds. */
  now(): number
  /** Time that never goes back, milliseconds with a fraction; only differences mean something. */
  monotonic(): number
  /** Runs `callback` once after `delayMs`; the returned function cancels it. Does not keep the process alive. */
  after(delayMs: number, callback: () => void): () => void
  /** Resolves after `delayMs`; rejects with the signal's reason as soon as it aborts. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>
}
