// The agent's own sessions: short, with deadlines; on its servers over the Unix socket, on those of others under TLS.
import type { SecureContext } from 'node:tls'
import { Client, escapeIdentifier, escapeLiteral } from 'pg'
import { applicationRole, superuserRole } from './model.ts'
import { scramVerifier, type GroupSecrets } from './secrets.ts'

const connectMsMax = 5_000
const statementMsMax = 60_000

/** Where and as whom. */
export interface Login {
  /** Folder of the Unix socket, or an address. */
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  readonly database: string
  readonly applicationName?: string
  /** A walsender that talks the replication protocol. */
  readonly replication?: boolean
  /** What is shown and trusted, for a server elsewhere: its certificate must name the host. */
  readonly secureContext?: () => SecureContext
}

type ClientConfig = ConstructorParameters<typeof Client>[0] & { readonly replication?: string }

/** A connected client; the caller ends it. Nothing of the environment (PGHOST, PGSSLMODE …) gets a say. */
export async function connect(login: Login): Promise<Client> {
  const config: ClientConfig = {
    host: login.host,
    port: login.port,
    user: login.user,
    password: login.password,
    database: login.database,
    // The host is told apart: pg names to TLS only those that are no addresses, and an address is verified, too.
    ssl:
      login.secureContext === undefined
        ? false
        : { secureContext: login.secureContext(), host: login.host, rejectUnauthorized: true },
    application_name: login.applicationName ?? 'fleetshard-agent',
    connectionTimeoutMillis: connectMsMax,
    // A walsender knows no statement_timeout, and a base backup has no bound of its own.
    ...(login.replication === true ? { replication: 'true' } : { query_timeout: statementMsMax }),
  }
  const client = new Client(config)
  client.on('error', () => undefined) // a lost session shows up in the query that waits for it
  await client.connect()
  return client
}

/** One session for one piece of work. The session ends with the signal. */
export async function withSession<T>(
  login: Login,
  work: (client: Client) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  signal?.throwIfAborted()
  const client = await connect(login)
  const onAbort = (): void => {
    void client.end()
  }
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    return await work(client)
  } finally {
    signal?.removeEventListener('abort', onAbort)
    await client.end().catch(() => undefined)
  }
}

/** The superuser over the socket. */
export function superuserLogin(socketDir: string, port: number, secrets: GroupSecrets): Login {
  return { host: socketDir, port, user: superuserRole, password: secrets.superuser, database: 'postgres' }
}

/** The application's role, which also replicates, over the socket. */
export function applicationLogin(socketDir: string, port: number, secrets: GroupSecrets): Login {
  return { host: socketDir, port, user: applicationRole, password: secrets.application, database: 'postgres' }
}

/**
 * The role of the product and its database. Idempotent. The role is no superuser: it logs in, replicates, makes
 * databases, sees statistics, ends sessions, and owns its database; nothing else.
 */
export async function ensureRoleAndDatabase(
  login: Login,
  database: string,
  applicationPassword: string,
): Promise<void> {
  const role = escapeIdentifier(applicationRole)
  const verifier = escapeLiteral(await scramVerifier(applicationPassword))
  await withSession(login, async (client) => {
    const roles = await client.query('SELECT 1 FROM pg_roles WHERE rolname = $1', [applicationRole])
    const verb = roles.rowCount === 0 ? 'CREATE' : 'ALTER'
    await client.query(`${verb} ROLE ${role} LOGIN REPLICATION CREATEDB PASSWORD ${verifier}`)
    await client.query(`GRANT pg_monitor, pg_signal_backend TO ${role}`)
    const databases = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [database])
    if (databases.rowCount === 0) {
      await client.query(`CREATE DATABASE ${escapeIdentifier(database)} OWNER ${role}`)
    }
  })
}

/** What pg_rewind calls on its source, as its manual lists them. */
const rewindFunctions = [
  'pg_ls_dir(text, boolean, boolean)',
  'pg_stat_file(text, boolean)',
  'pg_read_binary_file(text)',
  'pg_read_binary_file(text, bigint, bigint, boolean)',
]

/** Before 16 pg_rewind goes by the control file of its source, which has the new timeline from a checkpoint on. */
export async function checkpoint(login: Login): Promise<void> {
  await withSession(login, (client) => client.query('CHECKPOINT'))
}

/**
 * Lets the role of the product be what pg_rewind logs in as from another host: the superuser is let in over the socket
 * only. It may read what a base backup gives it anyway, and in the database `postgres` alone.
 */
export async function allowRewind(login: Login): Promise<void> {
  await withSession(login, async (client) => {
    const wanted = rewindFunctions.map(
      (name) => `has_function_privilege('${applicationRole}', '${name}', 'execute')`,
    )
    const found = await client.query<{ may: boolean }>(`SELECT ${wanted.join(' AND ')} AS may`)
    if (found.rows[0]?.may === true) return
    // The replica that would have to confirm it may be the one that waits for this.
    await client.query("SET synchronous_commit = 'local'")
    await client.query(
      rewindFunctions
        .map((name) => `GRANT EXECUTE ON FUNCTION ${name} TO ${escapeIdentifier(applicationRole)}`)
        .join('; '),
    )
  })
}

/** State of the replica that streams under that name, as its upstream sees it; null when it does not. */
export async function streamingState(client: Client, applicationName: string): Promise<string | null> {
  const found = await client.query<{ state: string }>(
    'SELECT state FROM pg_stat_replication WHERE application_name = $1 ORDER BY pid DESC LIMIT 1',
    [applicationName],
  )
  return found.rows[0]?.state ?? null
}
