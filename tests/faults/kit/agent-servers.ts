// The Postgres servers below one agent, reached past every manager: orders to the agent, sessions as superuser, and the
// links through which replicas stream. Fault clusters use it, and the bench of failovers.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Client } from 'pg'
import { send, type Answer } from '../../e2e/harness/http.ts'
import { until } from '../../e2e/harness/until.ts'
import { StreamTap } from './stream-tap.ts'

/** What the agent tells of a server's socket. */
interface Socketed {
  readonly socket_dir: string
  readonly port: number
}

/** What is read of the agent's own file. */
interface AgentFile {
  readonly servers: readonly { readonly id: string; readonly group: string }[]
}

/** All of them. Disposing puts the sockets back where they were. */
export class AgentServers implements AsyncDisposable {
  readonly #folder: string
  readonly #url: string
  readonly #taps = new Map<string, StreamTap>()

  /** @param folder the agent's data directory; @param port where the agent listens */
  constructor(folder: string, port: number) {
    this.#folder = folder
    this.#url = `http://127.0.0.1:${String(port)}/v1/servers`
  }

  /** A question or an order to the agent about a server (`id/start`). */
  async order<T>(method: 'GET' | 'POST', path: string, body?: object): Promise<Answer<T>> {
    const token = readFileSync(join(this.#folder, 'agent.token'), 'utf8').trim()
    return send<T>(method, `${this.#url}/${path}`, body, { authorization: `Bearer ${token}` })
  }

  /** The group whose passwords a server has. */
  groupOf(server: string): string {
    const file = JSON.parse(readFileSync(join(this.#folder, 'agent.json'), 'utf8')) as AgentFile
    return file.servers.find(({ id }) => id === server)?.group ?? server
  }

  /** The links through which replicas stream from that server. */
  async tap(server: string): Promise<StreamTap> {
    const found = this.#taps.get(server)
    if (found !== undefined) return found
    const { body } = await this.order<Socketed>('GET', server)
    const tap = new StreamTap(join(body.socket_dir, `.s.PGSQL.${String(body.port)}`))
    this.#taps.set(server, tap)
    return tap
  }

  /** A session as superuser, over the server's own socket; the caller ends it. */
  async superuser(server: string): Promise<Client> {
    const { body } = await this.order<Socketed>('GET', server)
    const secret = join(this.#folder, 'secrets', `${this.groupOf(server)}.postgres.password`)
    const client = new Client({
      host: body.socket_dir,
      port: body.port,
      database: 'postgres',
      user: 'postgres',
      password: readFileSync(secret, 'utf8').trim(),
    })
    client.on('error', () => undefined)
    await client.connect()
    return client
  }

  /** Ends a replica's receiver, which then connects anew: through its link, where one was put in. */
  async reconnect(replica: string): Promise<void> {
    const client = await this.superuser(replica)
    const receiver = async (): Promise<number | undefined> => {
      const found = await client.query<{ pid: number }>(
        "select pid from pg_stat_wal_receiver where status = 'streaming'",
      )
      return found.rows[0]?.pid
    }
    const before = await receiver()
    // It is no backend that SQL could end.
    if (before !== undefined) process.kill(before, 'SIGTERM')
    await until(`${replica} streams again`, async () => {
      const now = await receiver()
      return now !== undefined && now !== before
    })
    await client.end()
  }

  /** As if no link was ever cut. */
  heal(): void {
    for (const tap of this.#taps.values()) tap.heal()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#taps.values()].map((tap) => tap[Symbol.asyncDispose]()))
  }
}
