// A cluster started the way users start one, in a temporary directory and on free ports, that leaves nothing behind.
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { send, type Answer, type Executed } from './http.ts'
import {
  fleetshard,
  killBelow,
  startFleetshard,
  type Finished,
  type Running,
  type SpawnOptions,
} from './processes.ts'
import { until } from './until.ts'

/** What `up` writes of itself. */
export interface State {
  readonly pid: number
  readonly dataDir: string
  readonly ports: Readonly<Record<string, number>>
  readonly urls: {
    readonly router: string
    readonly manager: string
    readonly agent: string
    readonly routerMetrics: string
    readonly managerMetrics: string
    readonly workerMetrics: string
    readonly agentMetrics: string
  }
  readonly catalog: { readonly url: string; readonly passwordFile: string; readonly secretsKeyFile: string }
}

/** Every listener on a port of its own. */
export const freePorts: readonly string[] = [
  'router-http-port',
  'router-wire-port',
  'router-metrics-port',
  'manager-http-port',
  'manager-metrics-port',
  'worker-metrics-port',
  'agent-port',
  'agent-metrics-port',
].map((name) => `--${name}=0`)

/** How a test cluster is made. */
export interface ClusterOptions extends SpawnOptions {
  /** Further words for `up`. */
  readonly up?: readonly string[]
}

/** A temporary folder that the account of the servers may pass. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'fleetshard-e2e-'))
  chmodSync(folder, 0o755)
  return folder
}

/** A range of ports for Postgres that clusters of other tests hardly share. */
export function postgresPort(): number {
  return 16_000 + Math.floor(Math.random() * 150) * 100
}

/** A running cluster. */
export class Cluster implements AsyncDisposable {
  readonly folder: string
  readonly dataDir: string
  readonly #options: ClusterOptions
  readonly #postgresPort = postgresPort()
  #up: Running | null = null

  constructor(options: ClusterOptions, folder = temporaryFolder()) {
    this.#options = options
    this.folder = folder
    this.dataDir = join(folder, 'data')
    process.on('exit', () => {
      killBelow(this.dataDir)
    })
  }

  /** Starts `up` and waits until it is ready. */
  async start(): Promise<void> {
    const words = ['up', '--data-dir', this.dataDir, ...freePorts, ...this.startWords]
    const up = startFleetshard(words, this.#options)
    this.#up = up
    const ended = up.finished.then(({ err }) => {
      throw new Error(`up ended: ${err}`)
    })
    ended.catch(() => undefined)
    await Promise.race([ended, until('the cluster is ready', () => this.#isReady(up))])
  }

  /** What every start of this cluster is told besides its ports. */
  get startWords(): readonly string[] {
    return ['--fsync', 'false', '--postgres-port', String(this.#postgresPort), ...(this.#options.up ?? [])]
  }

  #isReady(up: Running): boolean {
    return existsSync(join(this.dataDir, 'cluster.json')) && up.output().out.includes('is running')
  }

  get state(): State {
    return JSON.parse(readFileSync(join(this.dataDir, 'cluster.json'), 'utf8')) as State
  }

  get up(): Running {
    if (this.#up === null) throw new Error('the cluster was not started')
    return this.#up
  }

  get catalogPassword(): string {
    return readFileSync(this.state.catalog.passwordFile, 'utf8').trim()
  }

  /** What a process needs to join it. */
  get joinEnvironment(): Record<string, string> {
    return {
      FLEETSHARD_CATALOG_PASSWORD: this.catalogPassword,
      FLEETSHARD_SECRETS_KEY_FILE: this.state.catalog.secretsKeyFile,
    }
  }

  /** A request to the manager. */
  manager<T = unknown>(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answer<T>> {
    return send<T>(method, `${this.state.urls.manager}${path}`, body, headers)
  }

  /** A request to the router. */
  router<T = unknown>(
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Answer<T>> {
    return send<T>(method, `${this.state.urls.router}${path}`, body, headers)
  }

  /** POST /v1/execute. */
  execute(body: unknown): Promise<Answer<Executed>> {
    return this.router<Executed>('POST', '/v1/execute', body)
  }

  /** `fleetshard …` about this cluster. */
  cli(...words: readonly string[]): Promise<Finished> {
    return fleetshard([...words, '--data-dir', this.dataDir], this.#options)
  }

  /** Declares the users table of the reference through the manager. */
  async makeUsers(): Promise<void> {
    const answer = await this.manager('POST', '/api/v1/keyspaces/default/tables', {
      tables: [{ name: 'users', kind: 'sharded', key_column: 'user_id' }],
      ddl: usersSchema,
      wait_ms: 60_000,
    })
    if (answer.status !== 201) throw new Error(`no users table: ${JSON.stringify(answer.body)}`)
  }

  /** Ends `up` cleanly. */
  async stop(): Promise<Finished> {
    this.up.kill('SIGTERM')
    return this.up.finished
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#up !== null && this.#up.child.exitCode === null) {
      this.#up.kill('SIGTERM')
      const late = setTimeout(() => this.#up?.kill('SIGKILL'), 20_000)
      await this.#up.finished.catch(() => undefined)
      clearTimeout(late)
    }
    killBelow(this.dataDir)
    await until('no server is left', () => {
      killBelow(this.dataDir)
      rmSync(this.folder, { recursive: true, force: true })
      return true
    })
  }
}

/** The users table of the reference. */
export const usersSchema = `CREATE TABLE users (
    id          BIGSERIAL PRIMARY KEY,
    user_id     VARCHAR(255) NOT NULL,
    name        VARCHAR(255) NOT NULL,
    email       VARCHAR(255) NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX ux_users_user_id ON users (user_id);`

/** Inserts one user; the answer says which shard took it. */
export const insertUser = (user: string): { shard_key: string; query: string; params: string[] } => ({
  shard_key: user,
  query: 'INSERT INTO users (user_id, name, email) VALUES ($1, $2, $3)',
  params: [user, `Name of ${user}`, `${user}@example.com`],
})

/** A started cluster; `await using` ends it. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = new Cluster(options)
  try {
    await cluster.start()
    return cluster
  } catch (error) {
    await cluster[Symbol.asyncDispose]()
    throw error
  }
}
