// The local cluster's state file: `up` writes where it listens, the commands read it to find the cluster.
import { FleetError } from '@fleetshard/core'
import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Type, type Static } from 'typebox'
import { Value } from 'typebox/value'
import type { Config } from './config/mod.ts'
import { makeFolders } from './make-folders.ts'
import { blockedFolder, serverUser, type ServerUser } from './server-user.ts'

const ClusterStateSchema = Type.Object({
  /** Form of the file. */
  format: Type.Literal(1),
  /** Process id of `up`. */
  pid: Type.Integer({ minimum: 1 }),
  /** When that process started, as the system says it: a pid alone may be given to another process later. */
  processStarted: Type.Optional(Type.String()),
  /** ISO 8601. */
  startedAt: Type.String(),
  /** Version of FleetShard that runs it. */
  version: Type.String(),
  dataDir: Type.String(),
  /** Whether its processes want to know who asks; they do not where it is left out. */
  auth: Type.Optional(Type.Enum(['open', 'required'])),
  /** Where its processes speak TLS: the files by which commands reach it. */
  tls: Type.Optional(
    Type.Object({
      ca: Type.Union([Type.String(), Type.Null()]),
      certificate: Type.String(),
      key: Type.String(),
    }),
  ),
  /** Of the servers, in full: `18.4`. */
  postgresVersion: Type.Optional(Type.String()),
  /** Ports by setting, `router.http-port` and so on, as they are in use. */
  ports: Type.Record(Type.String(), Type.Integer({ minimum: 1, maximum: 65_535 })),
  urls: Type.Object({
    router: Type.String(),
    manager: Type.String(),
    agent: Type.Optional(Type.String()),
    routerMetrics: Type.Optional(Type.String()),
    managerMetrics: Type.Optional(Type.String()),
    workerMetrics: Type.Optional(Type.String()),
    agentMetrics: Type.Optional(Type.String()),
  }),
  /** The catalog, for processes that join the cluster. The URL has no password: it lies in the file. */
  catalog: Type.Optional(
    Type.Object({
      url: Type.String(),
      passwordFile: Type.String(),
      /** The keys that its secrets are sealed with; left out where they are given otherwise. */
      secretsKeyFile: Type.Optional(Type.String()),
    }),
  ),
})

/** What a running local cluster tells of itself. No secrets: they stay in files of their own. */
export type ClusterState = Readonly<Static<typeof ClusterStateSchema>>

/** Name of the state file in the data directory. */
export const clusterStateFile = 'cluster.json'
const stateBytesMax = 64 * 1024

/**
 * The data directory of the local cluster: the one given, else `.fleetshard` under `cwd`. Where we are root and the
 * account that runs Postgres cannot walk to `cwd`, a folder under /var/tmp that belongs to `cwd` alone.
 */
export function dataDirOf(config: Config, cwd: string = process.cwd()): string {
  return config.get('data-dir') ?? defaultDataDir(cwd, serverUser())
}

/** See {@link dataDirOf}; `user` is null where servers run as ourselves. */
export function defaultDataDir(cwd: string, user: ServerUser | null): string {
  const folder = resolve(cwd)
  if (user === null || blockedFolder(folder, user) === null) return join(folder, '.fleetshard')
  return `/var/tmp/fleetshard-${createHash('sha256').update(folder).digest('hex').slice(0, 12)}`
}

/**
 * Writes the state file, readable for its owner only, in one step: a reader sees the old or the new one whole.
 * @throws FleetError `data_dir_unusable`
 */
export function writeClusterState(state: ClusterState): void {
  const path = join(state.dataDir, clusterStateFile)
  try {
    makeFolders(state.dataDir)
    const fresh = `${path}.${String(process.pid)}`
    writeFileSync(fresh, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 })
    chmodSync(fresh, 0o600)
    renameSync(fresh, path)
  } catch (error) {
    throw new FleetError('data_dir_unusable', `${path} cannot be written: ${codeOf(error)}`, { cause: error })
  }
}

/** Name of the file with the token of the cluster's operator, in the data directory. */
const adminTokenFile = 'admin.token'
const adminTokenBytes = 32

/** Where the token of the cluster's operator lies. */
export const adminTokenPath = (dataDir: string): string => join(dataDir, adminTokenFile)

/** Makes the token of a new cluster, readable for its owner only; the one that is there stays. */
export function makeAdminToken(dataDir: string): void {
  makeOnce(adminTokenPath(dataDir), randomBytes(adminTokenBytes).toString('base64url'))
}

/** Where the key lies that the secrets of the local cluster's catalog are sealed with. */
export const secretsKeyPath = (dataDir: string): string => join(dataDir, 'secrets.key')

/** Keeps that key, readable for its owner only; the one that is there stays. */
export function keepSecretsKey(dataDir: string, key: string): void {
  makeOnce(secretsKeyPath(dataDir), key)
}

function makeOnce(path: string, text: string): void {
  try {
    writeFileSync(path, `${text}\n`, { mode: 0o600, flag: 'wx' })
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return
    throw new FleetError('data_dir_unusable', `${path} cannot be written: ${codeOf(error)}`, { cause: error })
  }
}

/** The token of the cluster's operator; null where there is none, or this account may not read it. */
export function readAdminToken(dataDir: string): string | null {
  try {
    return readFileSync(adminTokenPath(dataDir), 'utf8').trim()
  } catch {
    return null
  }
}

/** Removes the state file; nothing happens where there is none. */
export function removeClusterState(dataDir: string): void {
  rmSync(join(dataDir, clusterStateFile), { force: true })
}

/**
 * The state file of the data directory; null when there is none, it is not readable, is no state file, or belongs to
 * a user that is neither us nor root (a folder under /var/tmp could be somebody else's).
 */
export function readClusterState(dataDir: string): ClusterState | null {
  const path = join(dataDir, clusterStateFile)
  try {
    const stat = statSync(path)
    if (stat.size > stateBytesMax || !isTrusted(stat.uid)) return null
    const parsed: unknown = JSON.parse(readFileSync(path, 'utf8'))
    return Value.Check(ClusterStateSchema, parsed) ? parsed : null
  } catch {
    return null
  }
}

/** The state of the cluster that runs on the data directory; null when none runs (a crash leaves its file behind). */
export function runningCluster(dataDir: string): ClusterState | null {
  const state = readClusterState(dataDir)
  return state !== null && isAlive(state.pid) ? state : null
}

/** True when a process of that id exists. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // It exists but belongs to somebody else.
    return codeOf(error) === 'EPERM'
  }
}

function isTrusted(owner: number): boolean {
  const own = process.getuid?.()
  return own === undefined || owner === own || owner === 0
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}
