// The messages of PostgreSQL's logical replication output plugin `pgoutput`, protocol versions 1 to 4, as values.
// Formats: PostgreSQL documentation, chapter 55, "Logical Replication Message Formats".
import type { Lsn } from '@fleetshard/core'

/** Stands for a TOASTed value that the update left as it was, and that the log therefore does not have. */
export const unchanged: unique symbol = Symbol('unchanged')

/** One column of a row: text, bytes (option `binary`), NULL, or not sent. */
export type TupleValue = string | Buffer | null | typeof unchanged

/** The columns of a row in the order of its relation. */
export type Tuple = readonly TupleValue[]

/** What of the old row an update or delete tells: the columns of the replica identity, or all of them. */
export interface OldTuple {
  /** `key`: columns outside of the identity are NULL whatever they were. */
  readonly kind: 'key' | 'full'
  readonly values: Tuple
}

export interface RelationColumn {
  readonly name: string
  /** Part of the replica identity. */
  readonly isKey: boolean
  readonly typeOid: number
  readonly typeModifier: number
}

/** A table as it is from here on in the stream; sent before its first change and after each change of it. */
export interface Relation {
  readonly oid: number
  /** Empty for pg_catalog. */
  readonly schema: string
  readonly name: string
  /** `d` primary key, `n` nothing, `f` all columns, `i` an index. */
  readonly identity: 'd' | 'n' | 'f' | 'i'
  readonly columns: readonly RelationColumn[]
}

/** Positions and time that end a transaction. Times are microseconds since 2000-01-01. */
interface Ending {
  /** Of the commit (prepare, rollback) record. */
  readonly lsn: Lsn
  /** Behind it. */
  readonly endLsn: Lsn
  readonly timeUs: bigint
}

interface Prepared extends Ending {
  readonly xid: number
  readonly gid: string
}

/**
 * One message. `xid` of changes is that of the (sub)transaction within a streamed block, else null: then they belong
 * to the transaction of the last `begin`.
 */
export type PgOutputMessage =
  | { readonly kind: 'begin'; readonly finalLsn: Lsn; readonly timeUs: bigint; readonly xid: number }
  | ({ readonly kind: 'commit' } & Ending)
  | { readonly kind: 'origin'; readonly lsn: Lsn; readonly name: string }
  | { readonly kind: 'relation'; readonly xid: number | null; readonly relation: Relation }
  | {
      readonly kind: 'type'
      readonly xid: number | null
      readonly oid: number
      readonly schema: string
      readonly name: string
    }
  | {
      readonly kind: 'insert'
      readonly xid: number | null
      readonly oid: number
      readonly row: Tuple
    }
  | {
      readonly kind: 'update'
      readonly xid: number | null
      readonly oid: number
      /** Null when the columns of the identity did not change. */
      readonly old: OldTuple | null
      readonly row: Tuple
    }
  | { readonly kind: 'delete'; readonly xid: number | null; readonly oid: number; readonly old: OldTuple }
  | {
      readonly kind: 'truncate'
      readonly xid: number | null
      readonly oids: readonly number[]
      readonly cascade: boolean
      readonly restartIdentity: boolean
    }
  | {
      readonly kind: 'message'
      readonly xid: number | null
      /** False: not part of a transaction, and seen at once. */
      readonly transactional: boolean
      readonly lsn: Lsn
      readonly prefix: string
      readonly content: Buffer
    }
  | { readonly kind: 'stream-start'; readonly xid: number; readonly isFirst: boolean }
  | { readonly kind: 'stream-stop' }
  | ({ readonly kind: 'stream-commit'; readonly xid: number } & Ending)
  | {
      readonly kind: 'stream-abort'
      readonly xid: number
      /** The same as `xid` when the whole transaction is meant. */
      readonly subXid: number
      /** Only with `streaming: parallel`. */
      readonly at: { readonly lsn: Lsn; readonly timeUs: bigint } | null
    }
  | ({ readonly kind: 'begin-prepare' } & Prepared)
  | ({ readonly kind: 'prepare' } & Prepared)
  | ({ readonly kind: 'stream-prepare' } & Prepared)
  | ({ readonly kind: 'commit-prepared' } & Prepared)
  | {
      readonly kind: 'rollback-prepared'
      readonly prepareEndLsn: Lsn
      readonly endLsn: Lsn
      readonly prepareTimeUs: bigint
      readonly timeUs: bigint
      readonly xid: number
      readonly gid: string
    }
