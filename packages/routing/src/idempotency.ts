// The table of a shard that remembers what was done under an idempotency key, in the transaction that did it. Execution
// makes it on the first key of a shard.

/** Statements in order; each can be run again. They want the right to make tables in the schema `fleetshard`. */
export const idempotencyTableSql: readonly string[] = [
  // The hash of the shard key, by the keyspace's own hash function, tells where the record goes when keys move.
  `create table if not exists fleetshard.idempotency (
     key text not null constraint idempotency_pkey primary key,
     shard_hash numeric(20, 0),
     fingerprint text not null,
     results text,
     rows bytea,
     created_at timestamptz not null default now(),
     expires_at timestamptz not null
   )`,
  'create index if not exists idempotency_expires_at on fleetshard.idempotency (expires_at)',
]
