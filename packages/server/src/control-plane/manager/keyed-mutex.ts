// One at a time for each key, in order of arrival, with a bound on who waits.
import { FleetError } from '@fleetshard/core'

/** Changes that may wait for one keyspace. */
export const waitersMax = 512

/** Runs work one at a time for each key. */
export interface KeyedMutex {
  /** @throws FleetError `overloaded` when too many wait; the signal's reason when it aborts while waiting */
  run<T>(key: string, signal: AbortSignal, work: () => Promise<T>): Promise<T>
}

interface Queue {
  waiting: number
  tail: Promise<unknown>
}

/** No key is held. */
export function createKeyedMutex(): KeyedMutex {
  const queues = new Map<string, Queue>()
  return {
    async run(key, signal, work) {
      const queue = queues.get(key) ?? { waiting: 0, tail: Promise.resolve() }
      if (queue.waiting >= waitersMax) {
        throw new FleetError('overloaded', `${String(waitersMax)} changes of ${key} wait already`)
      }
      queues.set(key, queue)
      const before = queue.tail
      const turn = Promise.withResolvers<undefined>()
      queue.tail = turn.promise
      queue.waiting += 1
      try {
        await before
        signal.throwIfAborted()
        return await work()
      } finally {
        queue.waiting -= 1
        if (queue.waiting === 0) queues.delete(key)
        turn.resolve(undefined)
      }
    },
  }
}
