// Scripts are split by the real grammar, and hold nothing that could leave one shard different from another.
import { isFleetError } from '@fleetshard/core'
import { describe, expect, it } from 'vitest'
import { usersDdl } from '../testing.ts'
import { parseSchema, schemaScriptBytesMax, schemaTablesMax, statementsByTable } from './parse-schema.ts'

async function refusal(sql: string): Promise<{ code: string; message: string; hint: string }> {
  const error: unknown = await parseSchema(sql).catch((caught: unknown) => caught)
  if (!isFleetError(error)) throw new Error(`not refused: ${JSON.stringify(error)}`)
  return { code: error.code, message: error.message, hint: error.hint ?? '' }
}

const table = 'create table t (a int);'

describe('schema scripts', () => {
  it('are split into their statements', async () => {
    const script = await parseSchema(usersDdl)
    expect(script.creates).toEqual(['public.users'])
    expect(script.statements.map(({ kind, tables }) => ({ kind, tables }))).toEqual([
      { kind: 'CREATE TABLE', tables: ['public.users'] },
      { kind: 'CREATE INDEX', tables: ['public.users'] },
    ])
    expect(script.statements[1]?.sql).toBe('CREATE UNIQUE INDEX ux_users_user_id ON users (user_id)')
  })

  it('are cut at bytes, not at characters, and not inside strings and bodies', async () => {
    const script = await parseSchema(`/* größer; */ create table "Tür" (a text default 'ß;😀');;
      create function f() returns int language sql as $$ select 1; $$; -- ende; hier
      comment on table "Tür" is 'é;'`)
    expect(script.creates).toEqual(['public."Tür"'])
    expect(script.statements.map(({ sql }) => sql)).toEqual([
      expect.stringContaining(`create table "Tür" (a text default 'ß;😀')`) as string,
      'create function f() returns int language sql as $$ select 1; $$',
      expect.stringContaining(`comment on table "Tür" is 'é;'`) as string,
    ])
  })

  it('may be what pg_dump writes', async () => {
    const script = await parseSchema(`SET statement_timeout = 0; SET client_encoding = 'UTF8';
      SELECT pg_catalog.set_config('search_path', '', false); SET default_table_access_method = heap;
      CREATE TABLE public.users (id bigint NOT NULL, user_id text NOT NULL);
      ALTER TABLE public.users OWNER TO app;
      CREATE SEQUENCE public.users_id_seq START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1;
      ALTER SEQUENCE public.users_id_seq OWNER TO app;
      ALTER SEQUENCE public.users_id_seq OWNED BY public.users.id;
      ALTER TABLE ONLY public.users ALTER COLUMN id SET DEFAULT nextval('public.users_id_seq'::regclass);
      ALTER TABLE ONLY public.users ADD CONSTRAINT users_pkey PRIMARY KEY (id);
      GRANT SELECT ON TABLE public.users TO reader;`)
    expect(script.creates).toEqual(['public.users'])
    expect(script.statements).toHaveLength(8)
  })

  it('may be wrapped in a transaction', async () => {
    expect((await parseSchema(`begin; ${table} commit;`)).statements).toHaveLength(1)
  })

  it('may create partitions with their table, which are no tables of their own', async () => {
    const script = await parseSchema(`create table e (a int) partition by range (a);
      create table e1 partition of e for values from (0) to (9); create index on e (a);`)
    expect(script.creates).toEqual(['public.e'])
    expect(script.statements).toHaveLength(3)
  })

  it.each([
    ['create index concurrently i on t (a)', /CONCURRENTLY/],
    ['create database x', /no transaction/],
    ['insert into t values (1)', /no rows/],
    ['update t set a = 1', /no rows/],
    ['delete from t', /no rows/],
    ['merge into t using u on true when matched then delete', /no rows/],
    ['copy t from stdin', /no rows/],
    ['truncate t', /deletes nothing/],
    ['drop table t', /drops nothing/],
    ['create table u as select 1', /fills/],
    ['select 1 into u', /reads nothing/],
    ['create materialized view m as select 1', /materialized/],
    ["select setval('s', 5)", /setval/],
    ["select set_config('search_path', 'x', false)", /reads nothing/],
    ["select set_config('search_path', '', false) from t", /reads nothing/],
    ['do $$ begin end $$', /DO/],
    ['call p()', /CALL/],
    ['rollback', /transaction of its own/],
    ['savepoint s', /transaction of its own/],
    ['set search_path = x', /search_path/],
    ['set role admin', /role/],
    ['vacuum t', /VACUUM/],
    ['create role r', /roles/],
    ['alter table t rename to u', /renames/],
    ['alter table other add column x int', /not created in this script/],
    ['create index on other (x)', /not created in this script/],
    [
      'create trigger g before insert on other for each row execute function f()',
      /not created in this script/,
    ],
    ['create table p1 partition of other default', /not created in this script/],
    ['create temp table u (a int)', /temporary/],
    ['create temp sequence u', /temporary/],
    ['create temp view u as select 1', /temporary/],
    ['create table t (b int)', /twice/],
    ['create table fleetshard.x (a int)', /not the user's/],
    ['create table pg_catalog.x (a int)', /not the user's/],
    ['create schema s create table x (a int)', /CREATE SCHEMA/],
    ["prepare transaction 'x'", /transaction of its own/],
    ['listen x', /can't hold/],
    ["alter system set work_mem = '1MB'", /can't hold/],
    ['lock table t', /can't hold/],
    ["load 'x'", /can't hold/],
    ['create publication p', /can't hold/],
    ["create subscription s connection 'x' publication p", /can't hold/],
    ["create tablespace x location '/tmp'", /can't hold/],
  ])('may not hold: %s', async (statement, message) => {
    const error = await refusal(`${table} ${statement}`)
    expect(error).toMatchObject({ code: 'schema_refused', message: expect.stringMatching(message) as string })
    expect(error.hint).not.toBe('')
  })

  it('are refused with the line where they are no SQL', async () => {
    expect(await refusal(`${table}\n\ncreate tabel x (a int);`)).toMatchObject({
      code: 'sql_syntax',
      message: 'syntax error at or near "tabel" in line 3',
    })
    expect((await refusal(`\\restrict abc\n${table}`)).hint).toContain('psql')
    expect(await refusal(`${table}\0`)).toMatchObject({ code: 'sql_syntax' })
  })

  it('are bounded, and create something', async () => {
    expect((await refusal('')).message).toContain('no table')
    expect((await refusal('create schema s')).message).toContain('no table')
    expect((await refusal(`${table} -- ${'x'.repeat(schemaScriptBytesMax)}`)).message).toContain(
      'larger than',
    )
    const many = Array.from(
      { length: schemaTablesMax + 1 },
      (_, index) => `create table t${String(index)} (a int);`,
    )
    expect((await refusal(many.join('\n'))).message).toContain('more than')
  })
})

describe('stored parts', () => {
  it('are the script again, in the order of its tables', async () => {
    const script = await parseSchema(`create type mood as enum ('a'); create table a (m mood);
      create index on a (m); create function f() returns trigger language plpgsql as 'begin return new; end';
      create table b (x int); create trigger t after insert on b for each row execute function f();
      create trigger t after insert on a for each row execute function f(); create view v as select 1;`)
    const parts = statementsByTable(script)
    expect([...parts.keys()]).toEqual(['public.a', 'public.b'])
    expect([...parts.values()].flat()).toEqual(script.statements.map(({ sql }) => sql))
    expect(parts.get('public.a')?.map((sql) => sql.split(' ').slice(0, 2).join(' '))).toEqual([
      'create type',
      'create table',
      'create index',
    ])
    expect(parts.get('public.b')?.at(-1)).toContain('create view')
  })
})
