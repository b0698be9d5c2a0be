import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createPreparedStatements } from '@fleetshard/routing/wire'
import { exec, query } from '@fleetshard/routing/wire'
import { RecordingSink, type Recorded } from './testing-sinks.ts'
import { postgresBuilds, startTestPostgres, type TestPostgres } from './testing.ts'
import type { PreparedStatements, ServerConnection, StatementRequest } from '@fleetshard/routing/wire'

function run(
  prepared: PreparedStatements,
  text: string,
  params: StatementRequest['params'] = [],
  rest: Partial<StatementRequest> = {},
): Promise<Recorded> {
  const sink = new RecordingSink()
  prepared.execute({ text, params, ...rest }, sink)
  return sink.ended
}

async function namesHeld(connection: ServerConnection): Promise<readonly (string | null)[]> {
  const { rows } = await query(
    connection,
    'select statement from pg_prepared_statements order by prepare_time, name',
  )
  return rows.map(([text]) => text ?? null)
}

describe.each(postgresBuilds())('prepared statements ($name)', (build) => {
  let server: TestPostgres
  let connection: ServerConnection
  beforeAll(async () => {
    server = await startTestPostgres(build)
    connection = await server.connect()
  })
  afterAll(async () => {
    await connection.close()
    await server[Symbol.asyncDispose]()
  })

  /** A connection of its own, so that statements can be counted. */
  async function fresh(
    max?: number,
  ): Promise<{ own: ServerConnection; prepared: PreparedStatements } & AsyncDisposable> {
    const own = await server.connect()
    const prepared = createPreparedStatements(own, max === undefined ? {} : { max })
    return { own, prepared, [Symbol.asyncDispose]: () => own.close() }
  }

  it('are parsed at first use only, and tell their columns each time', async () => {
    await using used = await fresh()
    const text = 'select $1::int as n, $2::text as t'
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, index) => run(used.prepared, text, [String(index), null])),
    )
    for (const [index, answer] of answers.entries()) {
      expect(answer).toMatchObject({
        columns: ['n:0', 't:0'],
        rows: [[String(index), null]],
        types: '2DCZ',
        status: 'idle',
      })
    }
    expect(await namesHeld(used.own)).toEqual([text])
    expect(used.prepared.size).toBe(1)
  })

  it('take bytes as binary parameters and give binary results', async () => {
    await using used = await fresh()
    const answer = await run(used.prepared, 'select $1::bytea as b', [Buffer.from('abc')], {
      resultFormat: 'binary',
    })
    expect(answer).toMatchObject({ columns: ['b:1'], rows: [['abc']] })
    const asText = await run(used.prepared, 'select $1::bytea as b', ['\\x6162'])
    expect(asText).toMatchObject({ columns: ['b:0'], rows: [['\\x6162']] })
  })

  it('are told apart by their parameter types', async () => {
    await using used = await fresh()
    const text = 'select pg_typeof($1)::text'
    const int8 = await run(used.prepared, text, ['1'], { paramTypes: [20] })
    const bool = await run(used.prepared, text, ['t'], { paramTypes: [16] })
    expect([int8.rows, bool.rows]).toEqual([[['bigint']], [['boolean']]])
    expect(used.prepared.size).toBe(2)
  })

  it('tell no columns for statements without rows', async () => {
    await using used = await fresh()
    await exec(used.own, 'create temp table t (id int)')
    const answer = await run(used.prepared, 'insert into t values ($1)', ['1'])
    expect(answer).toMatchObject({ columns: null, tags: ['INSERT 0 1'] })
    const none = await run(used.prepared, 'select id as x from t where id = $1', ['2'])
    expect(none).toMatchObject({ columns: ['x:0'], rows: [] })
  })

  it('can be described without being run, once for all', async () => {
    await using used = await fresh()
    const text = 'insert into pg_temp.none values ($1::int8, $2::json)'
    await expect(used.prepared.describe(text)).rejects.toMatchObject({ code: 'sql_error', sqlstate: '42P01' })
    expect(used.prepared.known(text)).toBeNull()
    await exec(used.own, 'create temp table none (id int8, j json)')
    const [first, second] = await Promise.all([used.prepared.describe(text), used.prepared.describe(text)])
    expect(first).toMatchObject({ paramTypes: [20, 114], fields: null })
    expect(second).toEqual(first)
    expect(used.prepared.known(text)).toEqual(first)
    expect(await namesHeld(used.own)).toEqual([text])
    expect((await query(used.own, 'select count(*) from none')).rows).toEqual([['0']])
  })

  it('are closed beyond the bound, the least recently used first', async () => {
    await using used = await fresh(3)
    for (const number of [1, 2, 3, 1, 4, 5]) {
      await run(used.prepared, `select ${String(number)}`)
    }
    expect(used.prepared.size).toBe(3)
    // The last one evicted is closed with the next group.
    const again = await run(used.prepared, 'select 5')
    expect(again).toMatchObject({ rows: [['5']], types: '2DCZ' })
    expect(await namesHeld(used.own)).toEqual(['select 1', 'select 4', 'select 5'])
  })

  it('keep working under eviction with hundreds in flight', async () => {
    await using used = await fresh(5)
    const answers = await Promise.all(
      Array.from({ length: 400 }, (_, index) =>
        run(used.prepared, `select ${String(index % 13)}, $1`, [String(index)]),
      ),
    )
    for (const [index, answer] of answers.entries())
      expect(answer.rows).toEqual([[String(index % 13), String(index)]])
    // The statement evicted by one group is closed with the next.
    await run(used.prepared, 'select 0, $1', ['last'])
    await run(used.prepared, 'select 0, $1', ['last'])
    expect(await namesHeld(used.own)).toHaveLength(5)
  })

  it('that cannot be parsed say so to each who asked, and are not held', async () => {
    await using used = await fresh()
    const answers = await Promise.all(Array.from({ length: 20 }, () => run(used.prepared, 'select nonsense')))
    for (const answer of answers)
      expect(answer).toMatchObject({ sqlstate: '42703', status: 'idle', rows: [] })
    expect(used.prepared.size).toBe(0)
    await exec(used.own, 'create temp table nonsense (id int)')
    expect(await run(used.prepared, 'select nonsense from nonsense')).toMatchObject({
      sqlstate: null,
      rows: [],
    })
  })

  it('whose execution fails stay prepared', async () => {
    await using used = await fresh()
    const text = 'select 1 / $1::int'
    expect(await run(used.prepared, text, ['0'])).toMatchObject({ sqlstate: '22012' })
    expect(await run(used.prepared, text, ['x'])).toMatchObject({ sqlstate: '22P02' })
    expect(await run(used.prepared, text, ['1'])).toMatchObject({ rows: [['1']], types: '2DCZ' })
    expect(await namesHeld(used.own)).toEqual([text])
  })

  it('lost by the server are parsed anew, without their users noticing', async () => {
    await using used = await fresh()
    await run(used.prepared, 'select $1', ['a'])
    await exec(used.own, 'deallocate all')
    const answers = await Promise.all(
      [1, 2, 3].map((index) => run(used.prepared, 'select $1', [String(index)])),
    )
    expect(answers.map(({ rows, types }) => [rows, types])).toEqual(
      [1, 2, 3].map((index) => [[[String(index)]], '2DCZ']),
    )
    await run(used.prepared, 'select $1', ['b'])
    expect(await namesHeld(used.own)).toEqual(['select $1'])
  })

  it('forget all when told', async () => {
    await using used = await fresh()
    await run(used.prepared, 'select 1')
    await exec(used.own, 'discard all')
    used.prepared.clear()
    expect(used.prepared.size).toBe(0)
    expect(await run(used.prepared, 'select 1')).toMatchObject({ rows: [['1']] })
  })

  it('whose result type has changed are parsed anew, with the new columns', async () => {
    await using used = await fresh()
    await exec(connection, 'create table changing (id int); insert into changing values (1)')
    const text = 'select * from changing'
    expect(await run(used.prepared, text)).toMatchObject({ columns: ['id:0'], rows: [['1']] })
    await exec(connection, `alter table changing add note text default 'new'`)
    const answers = await Promise.all([run(used.prepared, text), run(used.prepared, text)])
    for (const answer of answers) {
      expect(answer).toMatchObject({
        columns: ['id:0', 'note:0'],
        rows: [['1', 'new']],
        sqlstate: null,
        types: '2DCZ',
      })
    }
    await exec(connection, 'alter table changing drop note')
    expect(await run(used.prepared, text, [], { retryStale: false })).toMatchObject({ sqlstate: '0A000' })
    expect(await run(used.prepared, text)).toMatchObject({ columns: ['id:0'], rows: [['1']] })
    await exec(connection, 'drop table changing')
  })

  it('whose column has got another type are parsed anew when Postgres notices, and when told', async () => {
    await using used = await fresh()
    await exec(used.own, 'create temp table typed (v int)')
    const text = 'insert into typed values ($1) returning v'
    expect(await run(used.prepared, text, ['007'])).toMatchObject({ rows: [['7']] })
    await exec(used.own, 'alter table typed drop v; alter table typed add v json')
    expect(await run(used.prepared, text, ['{"a":1}'])).toMatchObject({ sqlstate: '22P02' })
    expect(await run(used.prepared, text, ['7'])).toMatchObject({ rows: [['7']], sqlstate: null })
    expect(await run(used.prepared, text, ['{"a":1}'])).toMatchObject({ rows: [['{"a":1}']] })
    await exec(used.own, 'alter table typed alter v type text')
    used.prepared.renew()
    expect(await run(used.prepared, text, ['plain'])).toMatchObject({ rows: [['plain']] })
    expect(await namesHeld(used.own)).toEqual([text])
  })

  it('inside a transaction pass the error on, since the transaction has failed', async () => {
    await using used = await fresh()
    await run(used.prepared, 'select $1', ['a'])
    await exec(used.own, 'deallocate all; begin')
    expect(await run(used.prepared, 'select $1', ['b'])).toMatchObject({
      sqlstate: '26000',
      status: 'failed',
    })
    await exec(used.own, 'rollback')
    expect(await run(used.prepared, 'select $1', ['c'])).toMatchObject({ rows: [['c']] })
  })

  it(`pass on a user's own 26000`, async () => {
    await using used = await fresh()
    const answer = await run(used.prepared, 'execute mine')
    expect(answer.sqlstate).toBe('26000')
  })

  it('fail with the connection', async () => {
    const own = await server.connect()
    const prepared = createPreparedStatements(own)
    const running = run(prepared, 'select pg_sleep(60)')
    await own.drained()
    await query(connection, 'select pg_terminate_backend($1::int)', [String(own.processId)])
    expect((await running).lost).toMatchObject({ error: { code: 'shard_unavailable' } })
    await expect(prepared.describe('select 1')).rejects.toMatchObject({ code: 'shard_unavailable' })
  })
})
