// All clients are read into one buffer: what one has sent and the router has not dealt with yet outlives the reads of others.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { writeBind, writeExecute, writeParse, writeQuery, writeSync } from '@fleetshard/routing/pgwire'
import {
  postgresBuilds,
  startTestPostgres,
  type TestPostgres,
} from '../../../../engine/postgres/wire/testing.ts'
import { startTestRouter, type TestRouter } from '../../testing.ts'
import { RawClient, rowsOf } from './testing.ts'

const [build] = postgresBuilds()
const noise = `select '${'~'.repeat(4_000)}'`

let server: TestPostgres
let router: TestRouter

beforeAll(async () => {
  if (build === undefined) throw new Error('there is no Postgres')
  server = await startTestPostgres(build)
  router = await startTestRouter(server, { shards: 1, tables: [] })
})
afterAll(async () => {
  await router[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

describe('bytes of one client, while others are read', () => {
  it('stay in a group whose Sync comes later', async () => {
    await using client = await RawClient.open(router.wirePort)
    await using other = await RawClient.open(router.wirePort)
    client.send((out) => {
      writeParse(out, '', 'select $1::text')
      writeBind(out, { portal: '', statement: '', params: ['kept'], resultFormats: [] })
    })
    await client.sent()
    for (let round = 0; round < 3; round += 1) await other.query(noise)
    client.send((out) => {
      writeExecute(out, '', 0)
      writeSync(out)
    })
    expect(rowsOf(await client.until('Z'))).toEqual([['kept']])
  })

  it('stay behind a statement that is under way', async () => {
    await using client = await RawClient.open(router.wirePort)
    await using other = await RawClient.open(router.wirePort)
    await other.query('select pg_advisory_lock(4711)')
    client.send((out) => {
      writeQuery(out, 'select pg_advisory_lock(4711)')
      writeQuery(out, "select 'second'")
    })
    client.send((out) => {
      writeQuery(out, "select 'third'")
    })
    await client.sent()
    for (let round = 0; round < 3; round += 1) await other.query(noise)
    await other.query('select pg_advisory_unlock(4711)')
    await client.until('Z')
    expect(rowsOf(await client.until('Z'))).toEqual([['second']])
    expect(rowsOf(await client.until('Z'))).toEqual([['third']])
  })
})
