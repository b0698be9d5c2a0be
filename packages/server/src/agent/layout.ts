// Where everything of an agent lies below its data directory.
import { createHash } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

/** Longest path of a Unix socket in bytes: 108 with the closing zero. */
export const socketPathBytesMax = 107

/** Files of the agent itself. */
export interface AgentLayout {
  readonly dataDir: string
  readonly stateFile: string
  readonly tokenFile: string
  readonly secretsDir: string
  readonly serversDir: string
}

/** Files of one server. */
export interface ServerLayout {
  readonly root: string
  readonly pgData: string
  /** Where data is built before it gets its name. */
  readonly pgDataNew: string
  readonly confDir: string
  readonly configFile: string
  readonly hbaFile: string
  readonly identFile: string
  readonly passFile: string
  /** Copies of the certificates that the server shows and trusts, where it has any. */
  readonly caFile: string
  readonly certificateFile: string
  readonly keyFile: string
  readonly logFile: string
  readonly socketDir: string
}

/** Paths only; nothing is made. */
export function agentLayout(dataDir: string): AgentLayout {
  const root = resolve(dataDir)
  return {
    dataDir: root,
    stateFile: join(root, 'agent.json'),
    tokenFile: join(root, 'agent.token'),
    secretsDir: join(root, 'secrets'),
    serversDir: join(root, 'servers'),
  }
}

/** Paths only; nothing is made. */
export function serverLayout(agent: AgentLayout, id: string): ServerLayout {
  const root = join(agent.serversDir, id)
  const confDir = join(root, 'conf')
  return {
    root,
    pgData: join(root, 'data'),
    pgDataNew: join(root, 'data.new'),
    confDir,
    configFile: join(confDir, 'fleetshard.conf'),
    hbaFile: join(confDir, 'pg_hba.conf'),
    identFile: join(confDir, 'pg_ident.conf'),
    passFile: join(confDir, 'passfile'),
    caFile: join(confDir, 'ca.crt'),
    certificateFile: join(confDir, 'server.crt'),
    keyFile: join(confDir, 'server.key'),
    logFile: join(root, 'postgres.log'),
    socketDir: socketFolder(root),
  }
}

/** `run` beside the data; where that path is too long for a socket, a folder of its own in the temporary folder. */
function socketFolder(root: string): string {
  const near = join(root, 'run')
  const longest = Buffer.byteLength(join(near, '.s.PGSQL.65535'))
  if (longest <= socketPathBytesMax) return near
  const name = createHash('sha256').update(root).digest('hex').slice(0, 16)
  return join(tmpdir(), `fleetshard-run-${name}`)
}

/** Name of the replication slot that a server streams through; unique per id, as ids may differ in case alone. */
export function slotName(id: string): string {
  const plain = id.toLowerCase().replaceAll('-', '_')
  if (plain === id && plain.length <= 50) return `fs_${plain}`
  const mark = createHash('sha256').update(id).digest('hex').slice(0, 8)
  return `fs_${plain.slice(0, 50)}_${mark}`
}
