// A TCP proxy for one link between two processes, which a scenario breaks: cut, hung, slow, late, in one direction or
// both. Who is to be cut off is given the proxy's port instead of the other's.
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

/** Direction of bytes, seen from whoever opens connections. */
export type Direction = 'up' | 'down'

/** What the link does to what passes. */
export type LinkState =
  /** Nothing. */
  | { readonly kind: 'whole' }
  /** Connections are reset, new ones as well: a process that is gone, a firewall that says so. */
  | { readonly kind: 'cut' }
  /** Bytes vanish and nobody is told: a pulled cable. Connections stay open on both sides, new ones open as well. */
  | { readonly kind: 'hung'; readonly directions: readonly Direction[] }
  /** Everything comes later by that much. */
  | { readonly kind: 'late'; readonly delayMs: number; readonly directions: readonly Direction[] }
  /** No more than so many bytes a second. */
  | { readonly kind: 'slow'; readonly bytesPerSecond: number; readonly directions: readonly Direction[] }

/** Where the link leads: an address, or a Unix socket. */
export type LinkTarget = { readonly host: string; readonly port: number } | { readonly path: string }

interface Connection {
  readonly near: Socket
  readonly far: Socket
}

const both: readonly Direction[] = ['up', 'down']
const whole: LinkState = { kind: 'whole' }
/** A slow link passes its bytes on in steps of that long. */
const stepMs = 20

/** One link. Disposing ends all of its connections. */
export class FaultProxy implements AsyncDisposable {
  readonly #server: Server
  readonly #target: () => LinkTarget
  readonly #connections = new Set<Connection>()
  #state: LinkState = whole

  private constructor(server: Server, target: () => LinkTarget) {
    this.#server = server
    this.#target = target
    server.on('connection', (near) => {
      this.#accept(near)
    })
  }

  /** @param target asked for each connection, since servers that start again may have another port */
  static async open(target: LinkTarget | (() => LinkTarget)): Promise<FaultProxy> {
    const server = createServer({ pauseOnConnect: true })
    const proxy = new FaultProxy(server, typeof target === 'function' ? target : () => target)
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, '127.0.0.1', resolve)
    })
    return proxy
  }

  /** The near end. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get state(): LinkState {
    return this.#state
  }

  /** Connections through it now. */
  get connections(): number {
    return this.#connections.size
  }

  /** As if nothing was ever wrong; what a hung link has swallowed stays lost, and so its connections are reset. */
  heal(): void {
    const before = this.#state
    this.#state = whole
    if (before.kind === 'hung') this.#reset()
  }

  cut(): void {
    this.#state = { kind: 'cut' }
    this.#reset()
  }

  hang(directions: readonly Direction[] = both): void {
    this.#state = { kind: 'hung', directions }
  }

  delay(delayMs: number, directions: readonly Direction[] = both): void {
    this.#state = { kind: 'late', delayMs, directions }
  }

  slow(bytesPerSecond: number, directions: readonly Direction[] = both): void {
    this.#state = { kind: 'slow', bytesPerSecond, directions }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.#reset()
    await closed
  }

  #reset(): void {
    for (const { near, far } of this.#connections) {
      near.resetAndDestroy()
      // A Unix socket knows no reset.
      if ('path' in this.#target()) far.destroy()
      else far.resetAndDestroy()
    }
  }

  #accept(near: Socket): void {
    near.on('error', () => undefined)
    if (this.#state.kind === 'cut') {
      near.resetAndDestroy()
      return
    }
    const far = connect({ ...this.#target(), allowHalfOpen: true })
    const connection = { near, far }
    this.#connections.add(connection)
    far.on('error', () => near.resetAndDestroy())
    near.on('close', () => {
      this.#connections.delete(connection)
      far.destroy()
    })
    far.on('close', () => near.destroySoon())
    void this.#pass(near, far, 'up')
    void this.#pass(far, near, 'down')
  }

  /** Passes one direction on, chunk by chunk, each as the link is when it comes. */
  async #pass(from: Socket, to: Socket, direction: Direction): Promise<void> {
    try {
      for await (const chunk of from) {
        if (!(await this.#isPassed(chunk as Buffer, direction))) continue
        if (to.destroyed) return
        if (!to.write(chunk as Buffer)) await drained(to)
      }
      // The end of a connection is told over the link as well.
      if (!this.#isHung(direction)) to.end()
    } catch {
      to.destroy()
    }
  }

  /** Waits as long as the link makes it; false when the chunk is lost. */
  async #isPassed(chunk: Buffer, direction: Direction): Promise<boolean> {
    const state = this.#state
    switch (state.kind) {
      case 'whole':
        return true
      case 'cut':
        return false
      case 'hung':
        return !state.directions.includes(direction)
      case 'late':
        if (state.directions.includes(direction)) await pause(state.delayMs)
        return !this.#isHung(direction)
      case 'slow':
        if (state.directions.includes(direction)) {
          const waitMs = (chunk.length * 1000) / state.bytesPerSecond
          // In steps, so that a link that is healed meanwhile is quick at once.
          for (let waited = 0; waited < waitMs && this.#state === state; waited += stepMs) await pause(stepMs)
        }
        return !this.#isHung(direction)
    }
  }

  #isHung(direction: Direction): boolean {
    return this.#state.kind === 'hung' && this.#state.directions.includes(direction)
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const over = (): void => {
      socket.off('drain', over)
      socket.off('close', over)
      resolve()
    }
    socket.once('drain', over)
    socket.once('close', over)
  })
}
