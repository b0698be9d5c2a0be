// Hears of new revisions through LISTEN, on a connection of its own. Only a shortcut: watches poll besides.
import type { Clock } from '@fleetshard/core'
import { Client, type ClientConfig } from 'pg'
import { createBackoff } from '../../deadline.ts'
import type { Wake } from '../../wake.ts'
import { endWithin } from './connections.ts'
import { notifyChannel } from './schema.ts'

export interface ListenerDeps {
  readonly clock: Clock
  readonly config: ClientConfig
  readonly wake: Wake
}

/** Listens until the signal aborts, through restarts of the server. Never rejects. */
export async function listen(deps: ListenerDeps, signal: AbortSignal): Promise<void> {
  const backoff = createBackoff(deps.clock)
  while (!signal.aborted) {
    try {
      await listenOnce(deps, signal, () => {
        backoff.succeeded()
      })
    } catch {
      // The watches' own queries report an outage; this loop has nothing to add.
    }
    await backoff.wait(signal).catch(() => undefined)
  }
}

/** Until the connection ends. */
async function listenOnce(deps: ListenerDeps, signal: AbortSignal, onListening: () => void): Promise<void> {
  const client = new Client(deps.config)
  const { promise: over, resolve } = Promise.withResolvers<void>()
  client.on('error', () => {
    resolve()
  })
  client.on('end', () => {
    resolve()
  })
  const onAbort = (): void => {
    resolve()
  }
  signal.addEventListener('abort', onAbort)
  client.on('notification', () => {
    deps.wake.notify()
  })
  try {
    await client.connect()
    await client.query(`listen ${notifyChannel}`)
    onListening()
    // What came while nobody listened.
    deps.wake.notify()
    await over
  } finally {
    signal.removeEventListener('abort', onAbort)
    await endWithin(deps.clock, client.end())
  }
}
