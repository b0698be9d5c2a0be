// Waiting for a signal to abort.

/** Resolves when the signal aborts; at once when it has. */
export async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  const { promise, resolve } = Promise.withResolvers<undefined>()
  const onAbort = (): void => {
    resolve(undefined)
  }
  signal.addEventListener('abort', onAbort, { once: true })
  await promise
}
