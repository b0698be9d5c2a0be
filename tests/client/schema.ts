// The tables that the conformance cases use.
import { testTable } from '@fleetshard/routing/testing'

/** Runs on every shard. */
export const schema = `
  create table users (
    id bigserial primary key, user_id varchar(255) not null unique, name text, n int not null default 0);
  create table notes (user_id text not null, body text);
  create table kinds (kind text primary key, label text);
  create type mood as enum ('sad', 'ok');
  create domain short_text as text check (length(value) < 10);
  create function slow_write(who text, seconds float8) returns int language plpgsql as $$
    begin
      update users set n = n + 1 where user_id = who;
      perform pg_sleep(seconds);
      return 1;
    end $$;
`

/** How they are declared. */
export const tables = [
  testTable('public.users'),
  testTable('public.notes'),
  testTable('public.kinds', { kind: 'reference', keyColumn: null, keyType: null }),
]
