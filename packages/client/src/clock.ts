// The system clock of the client. The only file of the package that touches timers and Date.now.
import type { Clock } from '@fleetshard/core'

/** Node makes the global anew behind a getter at every look. */
const time = performance

interface Timer {
  /** Node only: a waiting timer does not keep the process alive. */
  readonly unref?: () => void
}

function timer(delayMs: number, callback: () => void): () => void {
  const handle = setTimeout(callback, delayMs)
  ;(handle as unknown as Timer).unref?.()
  return () => {
    clearTimeout(handle)
  }
}

/** Real time, in browsers and in Node. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => time.now(),
  after: timer,
  sleep: (delayMs, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason as Error)
        return
      }
      const onAbort = (): void => {
        stop()
        reject(signal?.reason as Error)
      }
      const stop = timer(delayMs, () => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      })
      signal?.addEventListener('abort', onAbort, { once: true })
    }),
}
