// The objects of ours in a shard's database: schema `fleetshard` with the shard's identity and the id generator. Made by
// the first claim, brought up to date by every later one. What only some shards need is made on its first use: the
// markers of schema changes by schema-change.ts, the records of idempotency keys by execution. Each table costs a new
// shard several files and dozens of rows in the server's own catalogs.
//
// Layout of an id of next_id(), a positive bigint:
//   bits 62..22  milliseconds since 2025-01-01T00:00:00Z (41 bits: until September 2094)
//   bits 21..9   sequence block of the shard (13 bits: blocks 0 to 8191)
//   bits  8..0   counter within the millisecond
// Milliseconds and counter are one number, kept in the sequence fleetshard.id_clock: each call moves it to the clock
// or, where it is there already or the clock went back, by one. So ids of one shard always ascend, across sessions,
// restarts and clock steps, and ids of two shards of a keyspace differ in the block.

/** Bits of the block within an id of next_id(). */
export const idBlockBits = 13
/** Bits of the counter within an id of next_id(). */
export const idCounterBits = 9
/** 2025-01-01T00:00:00Z, milliseconds since 1970: where the time of next_id() begins. */
export const idEpochMs = 1_735_689_600_000

/** Serialises calls of next_id(): 'FSID' in ASCII. */
const idLockKey = '1179863364'

// The lock must be gone when the call ends, or callers would wait for each other's transactions, and it must not
// survive a cancelled call, as a session lock would. A lock taken in a subtransaction that is rolled back does
// both; the sequence keeps its new value, since sequences don't roll back.
const nextIdSql = `
create or replace function fleetshard.next_id() returns bigint
language plpgsql volatile parallel unsafe security definer set search_path = pg_catalog, pg_temp
as $body$
declare
  block bigint;
  tick bigint;
begin
  select s.sequence_block into block from fleetshard.shard_state s;
  if block is null then
    raise exception 'this database belongs to no shard' using errcode = 'FS002';
  end if;
  if block >= ${String(2 ** idBlockBits)} then
    raise exception 'sequence block % is too large for fleetshard.next_id()', block using errcode = '54000';
  end if;
  begin
    perform pg_advisory_xact_lock(${idLockKey});
    select greatest(
             c.last_value + 1,
             (floor(extract(epoch from clock_timestamp()) * 1000)::bigint - ${String(idEpochMs)})
               << ${String(idCounterBits)})
      into tick from fleetshard.id_clock c;
    perform setval('fleetshard.id_clock', tick);
    raise exception using errcode = 'FSID0';
  exception when sqlstate 'FSID0' then
    null;
  end;
  return ((tick >> ${String(idCounterBits)}) << ${String(idBlockBits + idCounterBits)})
         | (block << ${String(idCounterBits)}) | (tick & ${String(2 ** idCounterBits - 1)});
end
$body$`

/**
 * In order; each can be run again. The schema itself is made before, where it is missing. Names are short by the rules
 * of their parsers; told so, Postgres makes no side table for long values.
 */
const objectsSql: readonly string[] = [
  `create table if not exists fleetshard.shard_state (
     only_row boolean primary key default true check (only_row),
     cluster uuid not null,
     keyspace varchar(100) not null,
     shard varchar(100) not null,
     term bigint not null check (term >= 0),
     epoch_min bigint not null check (epoch_min >= 0),
     sequence_block bigint not null check (sequence_block >= 0),
     claimed_at timestamptz not null default now(),
     changed_at timestamptz not null default now()
   )`,
  'create sequence if not exists fleetshard.id_clock as bigint minvalue 0 start 0',
  // Checking the body would load its language into a process that never calls it; tests call it.
  'set local check_function_bodies = off',
  nextIdSql,
  // Every client role checks the identity when it connects, and takes ids; nobody but the owner may write here.
  'grant usage on schema fleetshard to public',
  'grant select on fleetshard.shard_state to public',
  'grant execute on function fleetshard.next_id() to public',
]

/** A login of the name of our schema. */
const namesake = 'fleetshard'

/**
 * A login named `fleetshard` would have our schema first in its search_path (`"$user", public`), and its unqualified
 * CREATE TABLE would land there. It gets a search_path without, in this database, unless it has one of its own.
 */
const keepOutOfSearchPathSql = `
do $body$
begin
  if current_user = 'fleetshard' and not exists (
       select from pg_db_role_setting s, unnest(s.setconfig) as setting
        where s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
          and s.setrole in (0, current_user::regrole) and setting like 'search_path=%') then
    execute format('alter role fleetshard in database %I set search_path = public', current_database());
  end if;
end
$body$`

/**
 * What makes or completes our objects, to be run in one transaction as that login.
 * CREATE SCHEMA IF NOT EXISTS wants the privilege even where the schema exists, so the caller has looked.
 */
export function installStatements(hasSchema: boolean, login: string): readonly string[] {
  return [
    ...(hasSchema ? [] : ['create schema fleetshard']),
    ...objectsSql,
    ...(login === namesake ? [keepOutOfSearchPathSql] : []),
  ]
}
