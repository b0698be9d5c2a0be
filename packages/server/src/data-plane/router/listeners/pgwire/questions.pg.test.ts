// Statements that a server is asked about before they can be placed, in a transaction that no server knows yet.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { writeBind, writeExecute, writeParse, writeSync } from '@fleetshard/routing/pgwire'
import { testTable } from '@fleetshard/routing/testing'
import {
  postgresBuilds,
  startTestPostgres,
  type TestPostgres,
} from '../../../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from '../../testing.ts'
import { errorOf, RawClient, rowsOf, statusOf, type RawMessage } from './testing.ts'

const [build] = postgresBuilds()

let server: TestPostgres
let sharded: TestRouter

beforeAll(async () => {
  if (build === undefined) throw new Error('there is no Postgres')
  server = await startTestPostgres(build)
  sharded = await startTestRouter(server, {
    shards: 2,
    tables: [testTable('public.users')],
    schema: 'create table users (user_id text primary key, n int)',
  })
})
afterAll(async () => {
  await sharded[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

/** All of them in front of one Sync. */
function pipeline(
  client: RawClient,
  statements: readonly (readonly [text: string, params: readonly string[]])[],
): Promise<RawMessage[]> {
  client.send((out) => {
    for (const [text, params] of statements) {
      writeParse(out, '', text)
      writeBind(out, { portal: '', statement: '', params, resultFormats: [] })
      writeExecute(out, '', 0)
    }
    writeSync(out)
  })
  return client.until('Z')
}

describe('a question that fails in a transaction', () => {
  // Several keys, so that some of them lie on the shard that is not asked.
  it.each(['a', 'b', 'c', 'd'])('is told as its own error, not as that of the statement: %s', async (key) => {
    await using client = await RawClient.open(sharded.wirePort)
    await client.query('begin')
    const refused = await pipeline(client, [['select wrong from users where user_id = $1', [key]]])
    expect(errorOf(refused)?.code).toBe('42703')
    expect(statusOf(refused)).toBe('E')
    expect(errorOf(await client.query('select 1'))?.code).toBe('25P02')
    await client.query('rollback')
    const right = await pipeline(client, [['select n from users where user_id = $1', [key]]])
    expect(rowsOf(right)).toEqual([])
    expect(statusOf(right)).toBe('I')
  })

  it.each([
    ['the grammar', 'wat', '42601'],
    ['a column', 'select wrong from users where user_id = $1', '42703'],
  ])('does not fail what stands in front of it: %s', async (_what, text, code) => {
    await using client = await RawClient.open(sharded.wirePort)
    const bad = [text, text.includes('$1') ? ['a'] : []] as const
    for (const before of [[], ["set local statement_timeout = '7s'"]]) {
      await client.query('begin')
      for (const each of before) await client.query(each)
      const answered = await pipeline(client, [
        ["select current_setting('statement_timeout')", []],
        bad,
        ['select 1', []],
      ])
      expect(rowsOf(answered)).toEqual([[before.length === 0 ? '0' : '7s']])
      expect(errorOf(answered)?.code).toBe(code)
      expect(statusOf(answered)).toBe('E')
      await client.query('rollback')
    }
    expect(rowsOf(await client.query("select current_setting('statement_timeout')"))).toEqual([['0']])
  })

  it('leaves nothing of a write in front of it', async () => {
    await using client = await RawClient.open(sharded.wirePort)
    await client.query('begin')
    const answered = await pipeline(client, [
      ["insert into users (user_id, n) values ('written', 1) returning n", []],
      ['select wrong from users where user_id = $1', ['written']],
    ])
    expect(rowsOf(answered)).toEqual([['1']])
    expect(errorOf(answered)?.code).toBe('42703')
    expect(statusOf(answered)).toBe('E')
    await client.query('commit')
    expect(rowsOf(await client.query("select n from users where user_id = 'written'"))).toEqual([])
  })
})
