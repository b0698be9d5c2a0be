// So many at a time, in order of arrival.

/** A bounded number of places. */
export interface Slots {
  /** @throws the signal's reason when it aborts while waiting */
  run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T>
}

/** All places are free. Who waits is bounded by who may call. */
export function createSlots(count: number): Slots {
  let free = count
  const waiting: (() => void)[] = []

  async function enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (free > 0) {
      free -= 1
      return
    }
    const { promise, resolve, reject } = Promise.withResolvers<undefined>()
    const turn = (): void => {
      signal.removeEventListener('abort', giveUp)
      resolve(undefined)
    }
    const giveUp = (): void => {
      waiting.splice(waiting.indexOf(turn), 1)
      reject(signal.reason as Error)
    }
    waiting.push(turn)
    signal.addEventListener('abort', giveUp, { once: true })
    await promise
  }

  function leave(): void {
    const next = waiting.shift()
    if (next === undefined) free += 1
    else next()
  }

  return {
    async run(signal, work) {
      await enter(signal)
      try {
        return await work()
      } finally {
        leave()
      }
    },
  }
}
