// A knock is a connection that says nothing and is closed: the postmaster has to take it and to fork before the other end
// is closed, too, and a server logs nothing of it ("such cases often occur for legitimate reasons", says
// ProcessStartupPacket of PostgreSQL's backend_startup.c; with log_connections the connection is noted).
import { Socket } from 'node:net'
import { FleetError, type Clock } from '@fleetshard/core'
import type { NodeTarget } from '../../shard-engine.ts'
import { describeTarget } from '../errors.ts'

/**
 * A knock costs more than a probe, here and at the server, which forks for it: one counts that long, also for other
 * shards on the same server. So one that is looked at every second is knocked at every other time.
 */
const sharedMs = 1_500

interface Knock {
  readonly begunMs: number
  readonly answered: Promise<void>
}

/** The last knock at each server. */
export class Knocks {
  readonly #clock: Clock
  readonly #last = new Map<string, Knock>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /**
   * Resolves when the server has closed its end, of this knock or of one that began a moment ago.
   * @throws FleetError `deadline_exceeded`; the error of the socket
   */
  at(target: NodeTarget, timeoutMs: number): Promise<void> {
    const address = JSON.stringify([target.host, target.port])
    const nowMs = this.#clock.monotonic()
    const last = this.#last.get(address)
    if (last !== undefined && nowMs - last.begunMs < sharedMs) return last.answered
    const knock: Knock = { begunMs: nowMs, answered: this.#knock(target, timeoutMs) }
    this.#last.set(address, knock)
    const forget = (): void => {
      if (this.#last.get(address) === knock) this.#last.delete(address)
    }
    // One that nobody answered is told to those who wait for it, and proves nothing to those who come after.
    knock.answered.catch(forget)
    this.#clock.after(sharedMs, forget)
    return knock.answered
  }

  async #knock(target: NodeTarget, timeoutMs: number): Promise<void> {
    const socket = new Socket()
    const { host, port } = target
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const cancel = this.#clock.after(timeoutMs, () => {
      reject(new FleetError('deadline_exceeded', `${describeTarget(target)} took no connection in time`))
    })
    try {
      socket.once('error', reject).once('end', resolve).resume()
      socket.connect({ host, port }, () => socket.end())
      await promise
    } finally {
      cancel()
      socket.destroy()
    }
  }
}
