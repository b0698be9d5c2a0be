// The router's own settings follow SET LOCAL, transactions and savepoints as those of a server do: the same sessions, step
// by step, on a server (which takes any setting with a dot in its name) and on routers.
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { decodeServerError, writeBind, writeExecute, writeParse, writeSync } from '@fleetshard/routing/pgwire'
import { testTable } from '@fleetshard/routing/testing'
import {
  postgresBuilds,
  startTestPostgres,
  type TestPostgres,
} from '../../../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from '../../testing.ts'
import { errorOf, RawClient, rowsOf, statusOf, tagsOf, type RawMessage } from './testing.ts'

const [build] = postgresBuilds()
const runsMax = 60
const eventual = "set fleetshard.consistency = 'eventual'"
const eventually = "set local fleetshard.consistency = 'eventual'"
const bounded = "set fleetshard.consistency = 'bounded'"
const first = "set fleetshard.consistency = 'strong'"

let server: TestPostgres
let sharded: TestRouter
let single: TestRouter

beforeAll(async () => {
  if (build === undefined) throw new Error('there is no Postgres')
  server = await startTestPostgres(build)
  const schema = 'create table users (user_id text primary key)'
  const tables = [testTable('public.users')]
  sharded = await startTestRouter(server, { shards: 2, tables, schema })
  single = await startTestRouter(server, { shards: 1, tables, schema })
})
afterAll(async () => {
  await sharded[Symbol.asyncDispose]()
  await single[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

/** What a step led to: tags, SQLSTATE of an error, codes of notices, and the values afterwards. */
type Seen = readonly string[]

const openAt = (place: TestPostgres | TestRouter): Promise<RawClient> =>
  'wirePort' in place
    ? RawClient.open(place.wirePort)
    : RawClient.open(place.port, { user: 'trusted', database: 'postgres' })

/** One command by Query, or all of them by Parse, Bind and Execute in front of one Sync. */
function say(client: RawClient, step: readonly string[], extended: boolean): Promise<RawMessage[]> {
  if (!extended) return client.query(step.join(';'))
  client.send((out) => {
    for (const text of step) {
      writeParse(out, '', text)
      writeBind(out, { portal: '', statement: '', params: [], resultFormats: [] })
      writeExecute(out, '', 0)
    }
    writeSync(out)
  })
  return client.until('Z')
}

async function follow(
  place: TestPostgres | TestRouter,
  steps: readonly (readonly string[])[],
  extended: boolean,
): Promise<readonly Seen[]> {
  await using client = await openAt(place)
  await client.query(first)
  await client.query("set application_name = 'first'")
  const seen: Seen[] = []
  const valueOf = async (name: string): Promise<string> => {
    const told = await client.query(`show ${name}`)
    return errorOf(told)?.code ?? rowsOf(told).join()
  }
  for (const step of steps) {
    const told = await say(client, step, extended)
    const codes = told
      .filter(({ type }) => type === 'N')
      .map(({ bytes }) => decodeServerError(bytes, 0, bytes.length).code)
    seen.push([
      step.join('; '),
      tagsOf(told).join(),
      errorOf(told)?.code ?? '',
      codes.join(),
      statusOf(told),
      await valueOf('fleetshard.consistency'),
      await valueOf('application_name'),
    ])
  }
  return seen
}

const commands = [
  'begin',
  'begin',
  'commit',
  'rollback',
  'rollback and chain',
  'commit and chain',
  'savepoint a',
  'savepoint b',
  'release a',
  'rollback to a',
  'rollback to b',
  eventual,
  eventually,
  "set local fleetshard.consistency = 'strong'",
  "set application_name = 'mine'",
  "set local application_name = 'for now'",
  'reset application_name',
  'select 1 as one',
  'select 1/0 as wrong',
]

describe.each([
  ['two shards', () => sharded],
  ['one shard', () => single],
])('%s: own settings', (_, router) => {
  it.each([
    ['queries', false],
    ['the extended protocol', true],
  ])('are what a server has after each step, by %s', async (__, extended) => {
    const steps = fc.array(
      fc.constantFrom(...commands).map((text) => [text]),
      { minLength: 3, maxLength: 12 },
    )
    await fc.assert(
      fc.asyncProperty(steps, async (asked) => {
        expect(await follow(router(), asked, extended)).toEqual(await follow(server, asked, extended))
      }),
      { numRuns: runsMax },
    )
  })

  it.each([
    [['begin', eventual], ['rollback']],
    [['begin', eventual, 'select 1 as one'], ['rollback']],
    [['begin', eventual], ['commit']],
    [['begin', eventually], ['commit']],
    [['begin', eventually, 'commit'], ['select 1 as one']],
    [
      ['begin'],
      ['savepoint a', eventual, 'savepoint b', bounded],
      ['rollback to b'],
      ['rollback to a'],
      ['commit'],
    ],
    [['begin'], ['select 1 as one', 'savepoint a', eventual, 'rollback to a'], ['commit']],
    [['begin'], [eventual, 'select 1/0 as wrong', bounded], ['rollback']],
    [[eventual, 'select 1/0 as wrong']],
    [['select 1 as one', eventual, 'select 1/0 as wrong', bounded]],
    [[eventual, 'select 1 as one', bounded]],
  ])('are what a server has after pipelines: %j', async (...steps) => {
    expect(await follow(router(), steps, true)).toEqual(await follow(server, steps, true))
  })

  it('are not changed by a statement that is only prepared', async () => {
    await using client = await openAt(router())
    await client.query(first)
    client.send((out) => {
      writeParse(out, 's1', eventual)
      writeSync(out)
    })
    await client.until('Z')
    expect(rowsOf(await client.query('show fleetshard.consistency'))).toEqual([['strong']])
  })

  it('say where the statements of their transaction go, and no later ones', async () => {
    await using client = await openAt(router())
    const read = "select from users where user_id = 'a'"
    await client.query('begin')
    await client.query("set local fleetshard.shard = 'nowhere'")
    expect(errorOf(await client.query(read))).not.toBeNull()
    await client.query('rollback')
    expect(errorOf(await client.query(read))).toBeNull()
  })
})
