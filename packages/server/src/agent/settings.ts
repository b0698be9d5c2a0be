// The configuration of a server as text: fleetshard.conf (all of postgresql.conf, since it lies outside the data
// folder), pg_hba.conf, and the conninfo of a replica. Pure.
import { tlsVersionMin } from '@fleetshard/core/tls'
import type { SyncStandbys } from '../agent-api/mod.ts'
import type { CertificateFiles } from './certificate-files.ts'
import { applicationRole, superuserRole, type Durability } from './model.ts'

/** Connections of one router pool (100) with room for the control plane, replication and people. */
export const connectionsMax = 140

/** What the configuration of one server depends on. */
export interface ServerSettings {
  readonly id: string
  readonly major: number
  readonly port: number
  /** What it listens on. */
  readonly address: string
  /** What it shows and trusts; null without TLS. */
  readonly certificates: CertificateFiles | null
  readonly socketDir: string
  readonly hbaFile: string
  readonly identFile: string
  readonly durability: Durability
  /** Set for a replica. */
  readonly follow: FollowSettings | null
  /** Replicas that must confirm commits; null for none. */
  readonly sync: SyncStandbys | 'not promoted' | null
  /** Outrank everything above. */
  readonly extra: Readonly<Record<string, string | number>>
}

/** Where a replica streams from. */
export interface FollowSettings {
  /** Host name, address, or folder of a Unix socket. */
  readonly host: string
  readonly port: number
  readonly passFile: string
  readonly slot: string
  readonly applicationName: string
  /** What it shows, and knows the upstream by; null for one on this machine. */
  readonly certificates: CertificateFiles | null
}

/** The whole fleetshard.conf. */
export function renderSettings(server: ServerSettings): string {
  const settings: Record<string, string | number> = {
    ...identity(server),
    ...(server.certificates === null ? {} : encryption(server.certificates)),
    ...fixedSettings,
    ...(server.major >= 18 ? { io_method: 'sync' } : {}), // workers cost memory; small servers don't need them
    ...(server.durability === 'throwaway' ? throwawaySettings : {}),
    ...(server.follow === null ? {} : followSettings(server.follow)),
    synchronous_standby_names: renderSync(server.sync),
    ...server.extra,
  }
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${quoteSetting(value)}`)
  return ['# Written by the FleetShard agent; changes are overwritten.', ...lines, ''].join('\n')
}

function identity(server: ServerSettings): Record<string, string | number> {
  return {
    cluster_name: server.id, // shows in ps
    listen_addresses: quoteListItem(server.address),
    port: server.port,
    unix_socket_directories: quoteListItem(server.socketDir),
    unix_socket_permissions: '0700',
    hba_file: server.hbaFile,
    ident_file: server.identFile,
  }
}

/** With `ssl_ca_file` whoever shows a certificate must show one of our authorities, also where none is demanded. */
function encryption({ caFile, certificateFile, keyFile }: CertificateFiles): Record<string, string> {
  return {
    ssl: 'on',
    ssl_min_protocol_version: tlsVersionMin,
    ssl_cert_file: certificateFile,
    ssl_key_file: keyFile,
    ssl_ca_file: caFile,
  }
}

const fixedSettings: Readonly<Record<string, string | number>> = {
  // Connections
  max_connections: connectionsMax,
  password_encryption: 'scram-sha-256',
  tcp_keepalives_idle: 30,
  tcp_keepalives_interval: 10,
  tcp_keepalives_count: 3,
  // Memory
  shared_buffers: '32MB',
  // Write-ahead log and replication
  wal_level: 'logical',
  wal_log_hints: 'on', // a former primary can be rewound
  max_wal_size: '256MB',
  min_wal_size: '32MB',
  // A rewind reads the log from the last checkpoint that both servers have. A later checkpoint, and be it that of the
  // recovery after a crash, removes that log where nothing keeps it; between two checkpoints lies up to max_wal_size.
  wal_keep_size: '256MB',
  wal_init_zero: 'off',
  max_wal_senders: 20,
  max_replication_slots: 20,
  max_slot_wal_keep_size: '4GB', // a replica that is away for long must not fill the disk of its primary
  max_prepared_transactions: 20,
  hot_standby: 'on',
  hot_standby_feedback: 'on',
  wal_receiver_status_interval: '1s',
  wal_sender_timeout: '10s',
  wal_receiver_timeout: '10s',
  wal_retrieve_retry_interval: '500ms',
  bgwriter_lru_maxpages: 0, // an idle server stays idle
  // Log
  log_destination: 'stderr',
  logging_collector: 'off',
  log_line_prefix: '%m [%p] %u@%d ',
  log_timezone: 'UTC',
  lc_messages: 'C',
  // Sessions
  timezone: 'UTC',
  datestyle: 'iso, mdy',
  default_text_search_config: 'pg_catalog.english',
}

const throwawaySettings: Readonly<Record<string, string>> = {
  // Survives kill -9 of the server, not a crash of the machine. full_page_writes stays on: pg_rewind asks for it.
  fsync: 'off',
}

function followSettings(follow: FollowSettings): Record<string, string> {
  return { primary_conninfo: renderConninfo(follow), primary_slot_name: follow.slot }
}

/** Under which a replica streams that may have writes of its own: no quorum has a member of that name. */
export const probationName = (id: string): string => `${id}:probation`

/**
 * The setting that makes a commit wait for `required` of the members; empty for none. A replica waits for a server that
 * is none: should somebody promote it past its agent, it acknowledges nothing.
 */
export function renderSync(sync: ServerSettings['sync']): string {
  if (sync === null) return ''
  if (sync === 'not promoted') return quoteListItem('fleetshard: not promoted')
  return `ANY ${String(sync.required)} (${sync.members.map(quoteListItem).join(', ')})`
}

/** How libpq is told to verify a server by name and authority, and to show a certificate. */
function verifyFull({ caFile, certificateFile, keyFile }: CertificateFiles): Record<string, string> {
  return {
    sslmode: 'verify-full',
    ssl_min_protocol_version: tlsVersionMin,
    sslrootcert: caFile,
    sslcert: certificateFile,
    sslkey: keyFile,
  }
}

function renderConninfo(follow: FollowSettings): string {
  return renderWords({
    host: follow.host,
    port: follow.port,
    user: applicationRole,
    passfile: follow.passFile, // a password in the setting would be shown to members of pg_monitor
    application_name: follow.applicationName,
    ...(follow.certificates === null ? { sslmode: 'disable' } : verifyFull(follow.certificates)),
    gssencmode: 'disable',
  })
}

/** The source of pg_rewind: a database of the server at that place, without the password. */
export function renderSource(source: {
  readonly host: string
  readonly port: number
  readonly user: string
  /** As of `FollowSettings`. */
  readonly certificates: CertificateFiles | null
}): string {
  const { host, port, user, certificates } = source
  const encryption = certificates === null ? { sslmode: 'disable' } : verifyFull(certificates)
  return renderWords({ host, port, user, dbname: 'postgres', ...encryption, gssencmode: 'disable' })
}

function renderWords(words: Readonly<Record<string, string | number>>): string {
  const quote = (value: string | number): string => `'${String(value).replaceAll(/['\\]/g, String.raw`\$&`)}'`
  return Object.entries(words)
    .map(([name, value]) => `${name}=${quote(value)}`)
    .join(' ')
}

function quoteSetting(value: string | number): string {
  if (typeof value === 'number') return String(value)
  if (/[\n\r\0]/.test(value)) throw new Error('a setting cannot hold a line break')
  return `'${value.replaceAll('\\', String.raw`\\`).replaceAll("'", "''")}'`
}

/** An element of a list setting: quoted, so that commas and blanks in a path stay in it. */
function quoteListItem(item: string): string {
  return `"${item.replaceAll('"', '""')}"`
}

/**
 * Everybody shows a password; the superuser is let in over the socket only. With TLS nobody else is let in without it,
 * from this machine neither, and where certificates are demanded nobody without one of our authorities.
 * @param tls null for a server that listens on loopback, plain
 */
export function renderHba(tls: { readonly clientCertificates: 'ignored' | 'required' } | null): string {
  return [
    '# Written by the FleetShard agent; changes are overwritten.',
    'local all         all                          scram-sha-256',
    `local replication ${applicationRole}                   scram-sha-256`,
    `host  all         ${superuserRole}   all             reject`,
    ...(tls === null ? plainLines : encryptedLines(tls.clientCertificates === 'required')),
    '',
  ].join('\n')
}

const plainLines: readonly string[] = [
  'host  all         all        127.0.0.0/8     scram-sha-256',
  'host  all         all        ::1/128         scram-sha-256',
  `host  replication ${applicationRole} 127.0.0.0/8     scram-sha-256`,
]

function encryptedLines(demandsCertificate: boolean): readonly string[] {
  const option = demandsCertificate ? ' clientcert=verify-ca' : ''
  return [
    `hostssl all         all all scram-sha-256${option}`,
    `hostssl replication ${applicationRole} all scram-sha-256${option}`,
  ]
}

/** libpq's password file: the role's password for any server. */
export function renderPassFile(password: string): string {
  return `*:*:*:${applicationRole}:${password.replaceAll(/[:\\]/g, String.raw`\$&`)}\n`
}
