// What a command is: its words, arguments, flags, and the function that does it. The commander tree, --help,
// completion and docs/reference/cli.md are made from it.
import type { Permission } from '@fleetshard/core'
import type { ConfigUser } from '../runtime/mod.ts'
import type { CommandContext } from './context.ts'
import type { ExitCode } from './exit-codes.ts'
import { OUTPUT_FORMATS } from './output/mod.ts'

/** A word after the command. */
export interface ArgumentSpec {
  readonly name: string
  readonly doc: string
  readonly optional?: boolean
}

/** A flag of one command; settings of the configuration table come by `user` instead. */
export interface FlagSpec {
  /** As commander has it: `-f, --file <path>`, `--yes`. */
  readonly flags: string
  readonly doc: string
  /** May be given several times; the values are a list. */
  readonly many?: boolean
  readonly choices?: readonly string[]
  readonly required?: boolean
}

/** One command. */
export interface CommandSpec {
  /** The words that call it: `status`, `shard create`. */
  readonly path: string
  /** What it takes on the servers that it asks; null where it asks none, or only the machine that it runs on. */
  readonly permission: Permission | null
  /** One line, no full stop. */
  readonly summary: string
  /** Paragraphs for --help and the reference. */
  readonly details?: string
  /** Whose settings are its flags. */
  readonly user: ConfigUser
  readonly args?: readonly ArgumentSpec[]
  readonly flags?: readonly FlagSpec[]
  /** What comes after `fleetshard`. */
  readonly examples?: readonly string[]
  /** Not in the list of commands. */
  readonly hidden?: boolean
  /** @throws FleetError of any code; the exit code follows from it */
  run(context: CommandContext): Promise<ExitCode>
}

/** For commands that print records. */
export const outputFlag: FlagSpec = {
  flags: '-o, --output <format>',
  doc: 'form of what is printed',
  choices: OUTPUT_FORMATS,
}
/** For commands that print a state. */
export const watchFlag: FlagSpec = {
  flags: '-w, --watch',
  doc: 'print again when something changes, until Ctrl-C',
}
/** For changes whose effect can be told before. */
export const dryRunFlag: FlagSpec = { flags: '--dry-run', doc: 'show what would be done and do nothing' }
/** For deletions. */
export const yesFlag: FlagSpec = { flags: '-y, --yes', doc: 'do not ask before deleting' }
/** For changes. */
export const reasonFlag: FlagSpec = { flags: '--reason <text>', doc: 'why, for the audit log' }
/** For commands that wait. */
export const timeoutFlag: FlagSpec = { flags: '--timeout <time>', doc: 'how long to wait, such as 30s or 5m' }

/** The names of groups of commands, for help. */
export const NOUNS: Readonly<Record<string, string>> = {
  keyspace: 'logical databases, each partitioned over shards',
  table: 'which tables are sharded, and by which column',
  shard: 'owners of ranges of the hash ring',
  failover: 'who leads a shard when a server is gone',
  reshard: 'splitting, merging, moving and rebalancing shards while they serve',
  node: 'database servers',
  job: 'long work of the control plane',
  token: 'who may use the fleet, and for what',
  secrets: 'passwords of servers in the catalog, and what they are sealed with',
  certs: 'a private authority, and certificates of it for TLS between processes',
  audit: 'what was done, by whom, from where',
  topology: 'topology files of the static mode',
  config: 'settings of this program',
}
