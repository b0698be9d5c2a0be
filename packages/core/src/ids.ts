// Branded identifiers and positions. Only the parsers here make them, so that a value of one of these
// types has been checked once and is trusted everywhere else.
import { FleetError } from './errors/fleet-error.ts'

declare const brand: unique symbol
type Brand<T, Name extends string> = T & { readonly [brand]: Name }

/** Name of one logical database: a lowercase Postgres-like identifier, up to 63 characters. */
export type KeyspaceName = Brand<string, 'KeyspaceName'>
/** Identifier of a shard, unique over all keyspaces: letters, digits, `-` and `_`, up to 63 characters. */
export type ShardId = Brand<string, 'ShardId'>
/** Identifier of one database server of a shard; same alphabet as a shard's. */
export type NodeId = Brand<string, 'NodeId'>
/** Identifier of a persisted workflow; same alphabet. */
export type JobId = Brand<string, 'JobId'>
/** Identifier of a running router; same alphabet. */
export type RouterId = Brand<string, 'RouterId'>
/** Version of a keyspace's shard map: a positive safe integer, +1 at every routing change. */
export type Epoch = Brand<number, 'Epoch'>
/** Leadership version of a shard: a positive safe integer, +1 at every promotion. */
export type Term = Brand<number, 'Term'>
/** Write-ahead log position of Postgres, as the 64-bit byte offset. */
export type Lsn = Brand<bigint, 'Lsn'>

const ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/
const KEYSPACE = /^[a-z_][a-z0-9_]{0,62}$/

function parseId<T extends string>(what: string, pattern: RegExp, text: string): T {
  if (pattern.test(text)) return text as T
  throw new FleetError('invalid_id', `${JSON.stringify(text.slice(0, 80))} is not a ${what}`, {
    hint: `a ${what} matches ${pattern.source}`,
  })
}

/** @throws FleetError `invalid_id` */
export const parseKeyspaceName = (text: string): KeyspaceName => parseId('keyspace name', KEYSPACE, text)
/** @throws FleetError `invalid_id` */
export const parseShardId = (text: string): ShardId => parseId('shard id', ID, text)
/** @throws FleetError `invalid_id` */
export const parseNodeId = (text: string): NodeId => parseId('node id', ID, text)
/** @throws FleetError `invalid_id` */
export const parseJobId = (text: string): JobId => parseId('job id', ID, text)
/** @throws FleetError `invalid_id` */
export const parseRouterId = (text: string): RouterId => parseId('router id', ID, text)

function parseVersion<T extends number>(what: string, value: number): T {
  if (Number.isSafeInteger(value) && value >= 0) return value as T
  throw new FleetError('invalid_id', `${String(value)} is not ${what}`, { hint: 'a whole number from 0 on' })
}

/** @throws FleetError `invalid_id` */
export const parseEpoch = (value: number): Epoch => parseVersion('an epoch', value)
/** @throws FleetError `invalid_id` */
export const parseTerm = (value: number): Term => parseVersion('a term', value)

/**
 * Reads `16/B374D848` (two hexadecimal halves), the text form of `pg_lsn`.
 * @throws FleetError `invalid_id`
 */
export function parseLsn(text: string): Lsn {
  const match = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text)
  if (match?.[1] === undefined || match[2] === undefined) {
    throw new FleetError('invalid_id', `${JSON.stringify(text.slice(0, 40))} is not a log position`, {
      hint: 'a position looks like 16/B374D848',
    })
  }
  return ((BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`)) as Lsn
}

/** The text form of `pg_lsn`: upper-case hexadecimal halves without leading zeros. */
export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`
}

/** 1 to 255 printable characters. */
export const idempotencyKeyPattern = '^[^\\p{C}]{1,255}$'
