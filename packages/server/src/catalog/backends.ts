// The catalog backends: one line each. A new backend is a folder, a line here, and the conformance suite run on it.
import { FleetError, type Clock } from '@fleetshard/core'
import type { Logger, TlsSource } from '../runtime/mod.ts'
import { createMemoryBackend } from './backends/memory/mod.ts'
import { openEtcdStore } from './backends/etcd/mod.ts'
import { openPostgresStore } from './backends/postgres/mod.ts'
import { splitTls } from './backends/postgres/tls.ts'
import type { CatalogStore } from './store.ts'

export interface StoreOptions {
  readonly clock: Clock
  readonly log: Logger
  /** Shown by the store to its operator (Postgres' application_name). */
  readonly applicationName?: string
  /** Longest time of one operation. Default 5 s. */
  readonly deadlineMs?: number
  /** What every key begins with, in stores that are shared (etcd). Default `/fleetshard/`. */
  readonly keyPrefix?: string
  /** What is shown and trusted where the url asks for TLS; null, or left out, for what the system trusts. */
  readonly tls?: TlsSource | null
}

const deadlineMsDefault = 5_000
const keyPrefixDefault = '/fleetshard/'
const applicationNameDefault = 'fleetshard'

type Opener = (url: string, options: StoreOptions) => CatalogStore

/** By the url's scheme. */
const BACKENDS: Readonly<Record<string, Opener>> = {
  memory: (_url, { clock }) => createMemoryBackend({ clock }).open(),
  postgres: openPostgres,
  postgresql: openPostgres,
  etcd: openEtcd,
  'etcd+https': openEtcd,
}

/**
 * Opens the store of a url: `memory:`, `postgres://user:password@host:port/database`,
 * `etcd://[user:password@]host:port[,host:port…]`, `etcd+https://…` under TLS. Of Postgres `?sslmode=verify-full` asks
 * for TLS (`require` and `verify-ca` as well mean that the server's certificate is verified). Does no I/O: the first
 * operation connects.
 * @throws FleetError `invalid_config`; the message never has the url's password
 */
export function openCatalogStore(url: string, options: StoreOptions): CatalogStore {
  const scheme = /^([a-z+]+):/.exec(url)?.[1] ?? ''
  const open = Object.hasOwn(BACKENDS, scheme) ? BACKENDS[scheme] : undefined
  if (open === undefined) throw invalidUrl(`there is no catalog backend for ${JSON.stringify(`${scheme}:`)}`)
  return open(url, options)
}

function invalidUrl(message: string): FleetError {
  return new FleetError('invalid_config', message, {
    hint: `a catalog url begins with one of ${Object.keys(BACKENDS).join(', ')}, as in postgres://host:5432/database`,
  })
}

function openPostgres(url: string, options: StoreOptions): CatalogStore {
  const { clock, log, applicationName = applicationNameDefault, deadlineMs = deadlineMsDefault } = options
  const { url: address, ssl } = splitTls(url, options.tls ?? null)
  try {
    return openPostgresStore(address, { clock, log, applicationName, deadlineMs, ssl })
  } catch {
    // The parser's own error quotes the url, password and all.
    throw invalidUrl('the catalog url cannot be read; is its password percent-encoded?')
  }
}

/** Several hosts with ports are not a URL to the platform's parser. */
const etcdUrl = /^etcd(\+https)?:\/\/(?:([^:@/]+):([^@/]*)@)?([^@/]+)\/?$/
const etcdMember = /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):\d{1,5}$/

function openEtcd(url: string, options: StoreOptions): CatalogStore {
  const [, secure, user, password, hosts = ''] = etcdUrl.exec(url) ?? []
  const members = hosts.split(',')
  if (!members.every((member) => etcdMember.test(member))) {
    throw invalidUrl('an etcd url has the form etcd://host:port,host:port')
  }
  const { clock, log, keyPrefix = keyPrefixDefault, deadlineMs = deadlineMsDefault } = options
  if (keyPrefix === '') throw invalidUrl('the key prefix of a catalog in etcd must not be empty')
  const auth =
    user === undefined
      ? {}
      : { auth: { username: decodeURIComponent(user), password: decodeURIComponent(password ?? '') } }
  const tls = secure === undefined ? null : (options.tls ?? 'system')
  return openEtcdStore({ members, tls, ...auth }, { clock, log, deadlineMs, keyPrefix })
}
