// A signal that aborts with its parent or when time is up, whichever is first.
import type { Clock } from '@fleetshard/core'

/** Aborts with `reason()` after `timeoutMs`, or as `parent` does. Dispose it when the work is done. */
export function deadlineSignal(
  clock: Clock,
  timeoutMs: number,
  reason: () => Error,
  parent?: AbortSignal,
): { readonly signal: AbortSignal } & Disposable {
  const controller = new AbortController()
  const cancelTimer = clock.after(timeoutMs, () => {
    controller.abort(reason())
  })
  const onParent = (): void => {
    controller.abort(parent?.reason)
  }
  if (parent?.aborted === true) onParent()
  else parent?.addEventListener('abort', onParent, { once: true })
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      cancelTimer()
      parent?.removeEventListener('abort', onParent)
    },
  }
}
