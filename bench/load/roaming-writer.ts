// A client that writes at a steady rate to whichever of its hosts takes writes, as libpq does with several hosts and
// `target_session_attrs=read-write`: sessions that break or stay silent are left, and all hosts are asked anew.
import { Socket } from 'node:net'
import { Client } from 'pg'
import { pace } from './paced-writer.ts'

/** One write. */
export interface RoamingWrite {
  readonly beganMs: number
  readonly tookMs: number
  readonly isAcknowledged: boolean
}

/** Where the client may write. */
export interface RoamingTarget {
  /** Ports of this machine, one of which leads to whoever takes writes. */
  readonly ports: readonly number[]
  readonly user: string
  readonly database: string
}

/** What is written, and how often. */
export interface RoamingOrder {
  readonly perSecond: number
  readonly text: string
  readonly valueOf: (count: number) => string
}

/** After that long without an answer other hosts are asked as well, and new sessions are preferred. */
const silentMs = 1_000
/** A write that was given up: longer than a router holds most statements, short enough that few are open at a time. */
const writeMsMax = 5_000
const askMsMax = 2_000
/** Between rounds of questions to all hosts. */
const pauseMs = 20

interface Session {
  readonly client: Client
  readonly generation: number
  readonly drop: () => void
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** A client at work. */
export class RoamingWriter implements AsyncDisposable {
  readonly writes: RoamingWrite[] = []
  readonly #target: RoamingTarget
  readonly #order: RoamingOrder
  readonly #stop = new AbortController()
  readonly #working: Promise<void>
  #idle: Session[] = []
  #finding: Promise<number> | null = null
  #port: number | null = null
  #generation = 0

  constructor(target: RoamingTarget, order: RoamingOrder) {
    this.#target = target
    this.#order = order
    this.#working = pace({ perSecond: order.perSecond, signal: this.#stop.signal }, (count) =>
      this.#write(count),
    )
  }

  /** True once a write was acknowledged that began after that moment. */
  wroteSince(ms: number): boolean {
    return this.writes.some(({ beganMs, isAcknowledged }) => isAcknowledged && beganMs > ms)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#working
    for (const session of this.#idle) session.drop()
  }

  async #write(count: number): Promise<void> {
    const beganMs = performance.now()
    const isAcknowledged = await this.#attempt(this.#order.valueOf(count))
    this.writes.push({ beganMs, tookMs: performance.now() - beganMs, isAcknowledged })
  }

  async #attempt(value: string): Promise<boolean> {
    const held: { session: Session | null } = { session: null }
    const over = new AbortController()
    const silent = setTimeout(() => {
      this.#leave(held.session?.generation ?? this.#generation)
    }, silentMs)
    const limit = setTimeout(() => {
      over.abort()
      held.session?.drop()
    }, writeMsMax)
    try {
      const session = (held.session = await this.#session(over.signal))
      await session.client.query(this.#order.text, [value])
      if (session.generation === this.#generation) this.#idle.push(session)
      else session.drop()
      return true
    } catch {
      held.session?.drop()
      this.#leave(held.session?.generation ?? this.#generation)
      return false
    } finally {
      clearTimeout(silent)
      clearTimeout(limit)
    }
  }

  /** What was found before does not hold any more. */
  #leave(generation: number): void {
    if (generation !== this.#generation) return
    this.#generation += 1
    this.#port = null
    // One that is in the middle of a write goes on; these have nothing to lose.
    for (const session of this.#idle) session.drop()
    this.#idle = []
  }

  async #session(over: AbortSignal): Promise<Session> {
    const idle = this.#idle.pop()
    if (idle !== undefined) return idle
    for (;;) {
      const port = this.#port ?? (await Promise.race([this.#find(), aborted(over)]))
      const { generation } = this
      const session = await this.#open(port)
      if (session !== null) return { ...session, generation }
      this.#leave(generation)
      if (over.aborted) throw new Error('no host takes writes')
    }
  }

  get generation(): number {
    return this.#generation
  }

  /** The port of a host that takes writes; all who look share one look. */
  #find(): Promise<number> {
    this.#finding ??= this.#look().finally(() => (this.#finding = null))
    return this.#finding
  }

  async #look(): Promise<number> {
    for (;;) {
      const asked = this.#target.ports.map(async (port) => {
        const session = await this.#open(port)
        session?.drop()
        if (session === null) throw new Error(`port ${String(port)} takes no writes`)
        return port
      })
      const found = await Promise.any(asked).catch(() => null)
      if (found !== null) return (this.#port = found)
      if (this.#stop.signal.aborted) throw new Error('over')
      await pause(pauseMs)
    }
  }

  /** A session that takes writes; null when there is none to be had there. */
  async #open(port: number): Promise<Pick<Session, 'client' | 'drop'> | null> {
    const socket = new Socket()
    socket.setNoDelay(true)
    const { user, database } = this.#target
    const client = new Client({ host: '127.0.0.1', port, user, database, stream: () => socket })
    client.on('error', () => undefined)
    const drop = (): void => void socket.destroy()
    const timer = setTimeout(drop, askMsMax)
    try {
      await client.connect()
      const found = await client.query<{ off: boolean }>(
        "select current_setting('transaction_read_only') = 'off' and not pg_is_in_recovery() as off",
      )
      if (found.rows[0]?.off === true) return { client, drop }
    } catch {
      // Nobody there, or not yet.
    } finally {
      clearTimeout(timer)
    }
    drop()
    return null
  }
}

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    signal.addEventListener('abort', () => {
      reject(new Error('no host takes writes'))
    })
  })
