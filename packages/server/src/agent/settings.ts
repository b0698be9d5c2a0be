// The configuration of a server as text: fleetshard.conf (all of postgresql.conf, since it lies outside the data
// folder), pg_hba.conf, and the conninfo of a replica. Pure.
import type { SyncStandbys } from '../agent-api/mod.ts'
import { applicationRole, superuserRole, type Durability } from './model.ts'

/** Connections of one router pool (100) with room for the control plane, replication and people. */
export const connectionsMax = 140

/** What the configuration of one server depends on. */
export interface ServerSettings {
  readonly id: string
  readonly major: number
  readonly port: number
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
}

/** The whole fleetshard.conf. */
export function renderSettings(server: ServerSettings): string {
  const settings: Record<string, string | number> = {
    ...identity(server),
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
    listen_addresses: '127.0.0.1',
    port: server.port,
    unix_socket_directories: quoteListItem(server.socketDir),
    unix_socket_permissions: '0700',
    hba_file: server.hbaFile,
    ident_file: server.identFile,
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

function renderConninfo(follow: FollowSettings): string {
  const words: Record<string, string | number> = {
    host: follow.host,
    port: follow.port,
    user: applicationRole,
    passfile: follow.passFile, // a password in the setting would be shown to members of pg_monitor
    application_name: follow.applicationName,
    sslmode: 'disable',
    gssencmode: 'disable',
  }
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

/** Everybody shows a password; the superuser is let in over the socket only. */
export function renderHba(): string {
  return [
    '# Written by the FleetShard agent; changes are overwritten.',
    'local all         all                          scram-sha-256',
    `local replication ${applicationRole}                   scram-sha-256`,
    `host  all         ${superuserRole}   all             reject`,
    'host  all         all        127.0.0.1/32    scram-sha-256',
    'host  all         all        ::1/128         scram-sha-256',
    `host  replication ${applicationRole} 127.0.0.1/32    scram-sha-256`,
    '',
  ].join('\n')
}

/** libpq's password file: the role's password for any server. */
export function renderPassFile(password: string): string {
  return `*:*:*:${applicationRole}:${password.replaceAll(/[:\\]/g, String.raw`\$&`)}\n`
}
