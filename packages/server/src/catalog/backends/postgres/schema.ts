// The tables and functions of the Postgres backend, and their installation on first use.
//
// How a commit runs: it locks the one row of `meta`, ends the leases that are over, judges its conditions, takes
// the next revision, writes keys and events, and commits. The lock is held to the end of the transaction, so that
// revisions become visible in their order: a sequence would let a watcher see 8 before a slower 7, and skip it.
// Everything happens in one statement, so that no client can hold the lock while it sleeps.
import { FleetError } from '@fleetshard/core'

/** Name of the schema that the backend keeps everything in. */
export const catalogSchema = 'fleetshard_catalog'
/** Channel that tells of new revisions. */
export const notifyChannel = 'fleetshard_catalog'
/** Version of the tables below. */
export const schemaVersion = 1
/** Two processes install one after the other; the number is arbitrary, and ours. */
const installLock = 7_093_341_201

/** What installation needs of a connection. */
export interface InstallConnection {
  query(text: string, values?: unknown[]): Promise<{ readonly rows: readonly Record<string, unknown>[] }>
}

const tables = `
create schema if not exists ${catalogSchema};

create table ${catalogSchema}.meta (
  only_row boolean primary key default true check (only_row),
  schema_version integer not null,
  revision bigint not null,
  compacted bigint not null
);
insert into ${catalogSchema}.meta (schema_version, revision, compacted) values (${schemaVersion}, 0, 0);

create table ${catalogSchema}.entries (
  key text collate "C" primary key,
  value text not null,
  revision bigint not null,
  lease uuid
);
create index entries_lease on ${catalogSchema}.entries (lease) where lease is not null;

-- One row a changed key; a null value is a delete. Rows of one revision are one batch.
create table ${catalogSchema}.events (
  revision bigint not null,
  position integer not null,
  key text collate "C" not null,
  value text,
  at timestamptz not null default clock_timestamp(),
  primary key (revision, position)
);

create table ${catalogSchema}.leases (
  id uuid primary key,
  ttl interval not null,
  expires_at timestamptz not null
);
`

const functions = `
-- Takes the next revision. The caller holds the lock on meta.
create function ${catalogSchema}.next_revision() returns bigint language plpgsql as $$
declare
  taken bigint;
begin
  update ${catalogSchema}.meta set revision = revision + 1 returning revision into taken;
  perform pg_notify('${notifyChannel}', taken::text);
  return taken;
end $$;

-- Deletes the keys of a lease, as one revision. The caller holds the lock on meta, and has deleted the lease.
create function ${catalogSchema}.delete_leased(ended uuid) returns void language plpgsql as $$
declare
  taken bigint;
begin
  if not exists (select 1 from ${catalogSchema}.entries e where e.lease = ended) then
    return;
  end if;
  taken := ${catalogSchema}.next_revision();
  with gone as (delete from ${catalogSchema}.entries e where e.lease = ended returning e.key)
  insert into ${catalogSchema}.events (revision, position, key, value)
    select taken, row_number() over (order by g.key), g.key, null from gone g;
end $$;

-- Ends the leases that are over. The caller holds the lock on meta.
create function ${catalogSchema}.expire_leases() returns void language plpgsql as $$
declare
  ended uuid;
begin
  for ended in
    delete from ${catalogSchema}.leases l where l.expires_at <= clock_timestamp() returning l.id
  loop
    perform ${catalogSchema}.delete_leased(ended);
  end loop;
end $$;

create function ${catalogSchema}.sweep() returns void language plpgsql as $$
begin
  perform 1 from ${catalogSchema}.meta for update;
  perform ${catalogSchema}.expire_leases();
end $$;

create function ${catalogSchema}.revoke(revoked uuid) returns void language plpgsql as $$
begin
  perform 1 from ${catalogSchema}.meta for update;
  delete from ${catalogSchema}.leases l where l.id = revoked;
  perform ${catalogSchema}.delete_leased(revoked);
end $$;

-- A null in write_values is a delete. Outcomes: committed, conflict, lease_lost.
create function ${catalogSchema}.commit(
  condition_kinds text[], condition_keys text[], condition_revisions bigint[],
  write_keys text[], write_values text[], write_leases uuid[],
  out outcome text, out at_revision bigint
) language plpgsql as $$
begin
  -- An acknowledged commit survives a crash, whatever the server's default; stronger defaults stay.
  if current_setting('synchronous_commit') in ('off', 'local') then
    perform set_config('synchronous_commit', 'on', true);
  end if;
  perform 1 from ${catalogSchema}.meta for update;
  perform ${catalogSchema}.expire_leases();
  if exists (
    select 1 from unnest(condition_kinds, condition_keys, condition_revisions) as c(kind, key, revision)
    left join ${catalogSchema}.entries e on e.key = c.key collate "C"
    where case c.kind
      when 'absent' then e.key is not null
      when 'exists' then e.key is null
      else e.revision is distinct from c.revision
    end
  ) then
    outcome := 'conflict';
    return;
  end if;
  if exists (
    select 1 from unnest(write_leases) as w(lease)
    where w.lease is not null and not exists (select 1 from ${catalogSchema}.leases l where l.id = w.lease)
  ) then
    outcome := 'lease_lost';
    return;
  end if;
  outcome := 'committed';
  if not exists (
    select 1 from unnest(write_keys, write_values) as w(key, value)
    where w.value is not null
      or exists (select 1 from ${catalogSchema}.entries e where e.key = w.key collate "C")
  ) then
    select m.revision into at_revision from ${catalogSchema}.meta m;
    return;
  end if;
  at_revision := ${catalogSchema}.next_revision();
  insert into ${catalogSchema}.events (revision, position, key, value)
    select at_revision, w.position, w.key, w.value
    from unnest(write_keys, write_values) with ordinality as w(key, value, position)
    where w.value is not null
      or exists (select 1 from ${catalogSchema}.entries e where e.key = w.key collate "C");
  delete from ${catalogSchema}.entries e
    using unnest(write_keys, write_values) as w(key, value)
    where w.value is null and e.key = w.key collate "C";
  insert into ${catalogSchema}.entries (key, value, revision, lease)
    select w.key, w.value, at_revision, w.lease
    from unnest(write_keys, write_values, write_leases) as w(key, value, lease)
    where w.value is not null
    on conflict (key) do update
      set value = excluded.value, revision = excluded.revision, lease = excluded.lease;
end $$;

-- Forgets events beyond an age, a count and a sum of bytes. A watcher that lags behind that reads again.
create function ${catalogSchema}.compact(age_max interval, count_max bigint, bytes_max bigint)
returns void language plpgsql as $$
declare
  cut bigint;
begin
  select greatest(
    (select max(e.revision) from ${catalogSchema}.events e where e.at < clock_timestamp() - age_max),
    (select e.revision from ${catalogSchema}.events e
      order by e.revision desc, e.position desc offset count_max limit 1),
    (select max(s.revision) from (
      select e.revision, sum(octet_length(e.key) + coalesce(octet_length(e.value), 0))
        over (order by e.revision desc, e.position desc) as bytes
      from ${catalogSchema}.events e) s where s.bytes > bytes_max)
  ) into cut;
  if cut is null then
    return;
  end if;
  -- The lock on meta, that commits wait for, comes last and is short.
  delete from ${catalogSchema}.events e where e.revision <= cut;
  update ${catalogSchema}.meta set compacted = cut where compacted < cut;
end $$;
`

/**
 * Makes the schema when it is not there. Idempotent, and safe from many processes at once.
 * @throws FleetError `invalid_config` when a newer version made it
 */
export async function installSchema(connection: InstallConnection): Promise<void> {
  const found = await readVersion(connection)
  if (found === null) {
    await connection.query(`begin; select pg_advisory_xact_lock(${installLock})`)
    try {
      if ((await readVersion(connection)) === null) await connection.query(tables + functions)
      await connection.query('commit')
    } catch (error) {
      await connection.query('rollback')
      throw error
    }
    return
  }
  if (found === schemaVersion) return
  throw new FleetError(
    'invalid_config',
    `the catalog has schema version ${found}; this program knows version ${schemaVersion}`,
    { hint: 'run the version of FleetShard that made the catalog, or a newer one' },
  )
}

async function readVersion(connection: InstallConnection): Promise<number | null> {
  // Not to_regclass: it may answer from a cache of before the lock was waited for.
  const there = await connection.query(
    `select 1 from pg_tables where schemaname = '${catalogSchema}' and tablename = 'meta'`,
  )
  if (there.rows.length === 0) return null
  const { rows } = await connection.query(`select schema_version from ${catalogSchema}.meta`)
  return Number(rows[0]?.['schema_version'])
}
