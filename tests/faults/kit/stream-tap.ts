// The links between a primary and its replicas. On one machine they go over the primary's Unix socket, in whose place the
// tap puts one of its own: who streams under the name of a replica goes through that replica's link, everybody else
// through untouched. A server that starts anew makes a new socket, which is tapped again.
import { chmodSync, renameSync, statSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { FaultProxy } from './proxy.ts'

const lookMs = 10

/** The tap of one server's socket. Disposing puts the socket back. */
export class StreamTap implements AsyncDisposable {
  readonly #path: string
  readonly #links = new Map<string, FaultProxy>()
  readonly #sockets = new Set<Socket>()
  readonly #timer: NodeJS.Timeout
  #server: Server | null = null
  #inode: number | null = null

  /** @param path of the server's socket: `…/.s.PGSQL.PORT` */
  constructor(path: string) {
    this.#path = path
    this.#look()
    this.#timer = setInterval(() => {
      this.#look()
    }, lookMs)
  }

  /** The link of that replica. */
  async link(replica: string): Promise<FaultProxy> {
    const found = this.#links.get(replica)
    if (found !== undefined) return found
    const proxy = await FaultProxy.open({ path: this.#behind })
    this.#links.set(replica, proxy)
    return proxy
  }

  heal(): void {
    for (const proxy of this.#links.values()) proxy.heal()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    const isTapped = this.#inode !== null && inodeOf(this.#path) === this.#inode
    this.#server?.close()
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all([...this.#links.values()].map((proxy) => proxy[Symbol.asyncDispose]()))
    if (isTapped && inodeOf(this.#behind) !== null) renameSync(this.#behind, this.#path)
  }

  get #behind(): string {
    return `${this.#path}.tapped`
  }

  #look(): void {
    const inode = inodeOf(this.#path)
    if (inode === null || inode === this.#inode) return
    try {
      renameSync(this.#path, this.#behind)
    } catch {
      return // the server was stopping
    }
    // A server that is closed takes away whatever lies at its path: only now nothing does.
    this.#server?.close()
    const server = createServer((near) => {
      this.#accept(near)
    })
    server.on('error', () => undefined)
    // In the same turn of the event loop, but for the call itself: nobody finds the path empty for long.
    server.listen(this.#path, () => {
      chmodSync(this.#path, 0o777)
    })
    this.#server = server
    this.#inode = inodeOf(this.#path)
  }

  #accept(near: Socket): void {
    this.#sockets.add(near)
    near.on('close', () => this.#sockets.delete(near))
    near.on('error', () => near.destroy())
    near.once('data', (first) => {
      near.pause()
      const link = this.#links.get(streamsAs(first as Buffer) ?? '')
      const far = link === undefined ? connect(this.#behind) : connect(link.port, '127.0.0.1')
      far.on('error', () => near.destroy())
      far.on('close', () => near.destroy())
      near.on('close', () => far.destroy())
      far.write(first)
      near.pipe(far).pipe(near)
    })
  }
}

/** The replica whose receiver begins so; null for everybody else. */
function streamsAs(startup: Buffer): string | null {
  const words = startup.subarray(8).toString('utf8').split('\0')
  const valueOf = (name: string): string | null => {
    const at = words.findIndex((word, index) => index % 2 === 0 && word === name)
    return at < 0 ? null : (words[at + 1] ?? null)
  }
  // `id:probation`: a former primary whose history is not known yet.
  return valueOf('replication') === null ? null : (valueOf('application_name')?.split(':')[0] ?? null)
}

function inodeOf(path: string): number | null {
  try {
    return statSync(path).ino
  } catch {
    return null
  }
}
