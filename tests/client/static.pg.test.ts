// The client with a topology file and no router: all that both modes must do alike, the same placement as a router of
// that file, and what only files can be: changed, wrong, of another keyspace.
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { exec } from '@fleetshard/routing/wire'
import { connect, type ConnectOptions, type FleetShardError } from '@fleetshard/client'
import {
  postgresBuilds,
  startTestPostgres,
  testPassword,
  type TestPostgres,
} from '../../packages/server/src/engine/postgres/wire/testing.ts'
import { startFleetshard, type Running } from '../e2e/harness/processes.ts'
import { until } from '../e2e/harness/until.ts'
import { clientConformance, type ConformanceContext } from './conformance.ts'
import { startStaticContext } from './context.ts'
import { failureOf } from './failure.ts'
import { topologyText, type FleetServer } from './static-fleet.ts'

describe('the client with a topology file', () => {
  let context: ConformanceContext & AsyncDisposable

  beforeAll(async () => {
    context = await startStaticContext()
  })
  afterAll(() => context[Symbol.asyncDispose]())

  clientConformance(() => context, 'file')

  it('refuses a database that a managed keyspace has claimed', async () => {
    await context.router.onShard(
      context.router.snapshot().shards[0]!.id,
      `create schema if not exists fleetshard;
       create table fleetshard.shard_state (cluster_id uuid, keyspace text, shard_id text, term bigint,
         epoch_min bigint, sequence_block int);
       insert into fleetshard.shard_state values (gen_random_uuid(), 'other', 's9', 1, 1, 0)`,
    )
    await using db = await context.connect()
    const shard = db.shards()[0]!
    expect(await failureOf(shard.query('select 1'))).toMatchObject({ code: 'wrong_database' })
  })
})

describe('a topology file', () => {
  let server: TestPostgres
  let at: FleetServer
  let folder: string
  let path: string
  const databases = ['one', 'two', 'three']

  beforeAll(async () => {
    server = await startTestPostgres(postgresBuilds()[0]!)
    at = { host: server.socketDir, port: server.port, user: 'postgres' }
    folder = mkdtempSync(join(tmpdir(), 'fs-client-'))
    path = join(folder, 'topology.json')
    write(topologyText(databases, at))
    const connection = await server.connect()
    for (const name of databases) await exec(connection, `create database ${name}`)
    await connection.close()
  })
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true })
  })

  /** Replaces the file as careful writers do. */
  function write(text: string): void {
    writeFileSync(`${path}.new`, text)
    renameSync(`${path}.new`, path)
  }

  const open = (more: Partial<ConnectOptions> = {}) => connect({ topology: path, ...more })

  it('places keys as a router of the same file does', async () => {
    await using router = startFleetshard([
      'router',
      '--topology-file',
      path,
      '--router-http-port=0',
      '--router-wire-port=0',
      '--router-metrics-port=0',
    ])
    const url = await addressOf(router)
    await using db = await open()
    const keys = Array.from({ length: 10_000 }, (_, index) => `user-${String(index)}`)
    const wrong: string[] = []
    const ask = async (): Promise<void> => {
      for (let key = keys.pop(); key !== undefined; key = keys.pop()) {
        const answer = await fetch(`${url}/v1/shard-for-key?keyspace=app&key=${key}`)
        const { shard_id: shardId } = (await answer.json()) as { shard_id: string }
        if (shardId !== db.shardFor(key).shardId) wrong.push(key)
      }
    }
    await Promise.all(Array.from({ length: 16 }, ask))
    expect(wrong).toEqual([])
    expect(new Set(db.shards().map(({ id }) => id)).size).toBe(3)
  })

  it('is followed: servers may move, placement may not', async () => {
    const refusals: FleetShardError[] = []
    await using db = await open({ onTopologyRefused: (error) => refusals.push(error) })
    const { epoch } = db.shardFor('a')
    write(topologyText(databases, at, { default_consistency: 'eventual' }))
    await until('the new version is known', () => db.shardFor('a').epoch > epoch)
    expect(await db.sql`select 1 as one`).toEqual([{ one: 1 }])
    write(topologyText(databases.slice(1), at))
    await until('the refusal is told', () => refusals.length > 0)
    expect(refusals[0]).toMatchObject({ code: 'invalid_config' })
    expect(refusals[0]?.message).toContain('on shards 0, 1 instead of 0, 1, 2')
    expect(db.shards()).toHaveLength(3)
    write(topologyText(databases, at, { keyspace: 'anew' }))
    await until('the keyspace is gone', () => {
      try {
        return void db.shardFor('a')
      } catch (error) {
        return (error as FleetShardError).code
      }
    })
    expect((await failureOf(db.query('select 1'))).code).toBe('not_found')
    write(topologyText(databases, at))
    await until('the keyspace is back', () => {
      try {
        return db.shardFor('a')
      } catch {
        return undefined
      }
    })
    expect(await db.sql`select 1 as one`).toEqual([{ one: 1 }])
  })

  it('is told to be wrong by line and column, whether it is a file or a text', async () => {
    const wrong = topologyText(databases, at, { hash: 'md5' })
    const line = wrong.split('\n').findIndex((each) => each.includes('md5')) + 1
    const error = await failureOf(connect({ topology: wrong }))
    expect(error).toMatchObject({ code: 'invalid_config', outcome: 'aborted', facts: { line, column: 11 } })
    expect(error.message).toMatch(/^the topology, line \d+, column 11: /)
    const file = join(folder, 'wrong.json')
    writeFileSync(file, '{ "shards": [')
    expect((await failureOf(connect({ topology: file }))).message).toContain('wrong.json, line 1, column 14:')
    const none = await failureOf(connect({ topology: join(folder, 'none.json') }))
    expect(none).toMatchObject({ code: 'invalid_config' })
    expect(none.message).toContain('ENOENT')
  })

  it('has one keyspace, which need not be named', async () => {
    await using db = await open()
    expect({ keyspace: db.keyspace, mode: db.mode, fallback: db.fallback }).toEqual({
      keyspace: 'app',
      mode: 'direct',
      fallback: null,
    })
    expect((await failureOf(open({ keyspace: 'other' }))).code).toBe('not_found')
  })

  it('says where passwords are, or its caller says them', async () => {
    const secret = join(folder, 'password')
    const node = { host: '127.0.0.1', port: at.port, user: 'scram', dbname: 'one', tls: 'disable' }
    const topologyOf = (password: object): string =>
      JSON.stringify({ shards: [{ shard_id: 0, primary: { ...node, ...password } }] })
    const works = async (password: object, more: Partial<ConnectOptions> = {}): Promise<void> => {
      await using db = await connect({ topology: topologyOf(password), ...more })
      expect(await db.sql`select current_user::text as who`).toEqual([{ who: node.user }])
    }
    writeFileSync(secret, `${testPassword}\n`)
    vi.stubEnv('CLIENT_TEST_PASSWORD', testPassword)
    await works({ password: testPassword })
    await works({ password_env: 'CLIENT_TEST_PASSWORD' })
    await works({ password_file: secret })
    await works({ secret_ref: `file:${secret}` })
    await works({}, { credentials: { user: node.user, password: testPassword } })
    const wrong = await failureOf(works({ password: 'hunter2' }))
    expect(wrong).toMatchObject({ code: 'shard_unavailable', facts: { server_sqlstate: '28P01' } })
    expect(wrong.message + wrong.hint).not.toContain('hunter2')
    vi.stubEnv('CLIENT_TEST_PASSWORD', undefined)
    for (const password of [{ password_env: 'CLIENT_TEST_PASSWORD' }, { password_file: `${secret}.none` }]) {
      expect(await failureOf(works(password))).toMatchObject({ code: 'secret_unavailable' })
    }
    vi.unstubAllEnvs()
  })

  it('goes with no router', async () => {
    for (const more of [
      { mode: 'http' },
      { url: 'http://127.0.0.1:1' },
      { urls: ['http://127.0.0.1:1'] },
    ] as const) {
      expect(await failureOf(open(more))).toMatchObject({ code: 'invalid_request', outcome: 'aborted' })
    }
  })
})

const addressOf = (router: Running): Promise<string> =>
  until('the router is ready', () => {
    const line = router
      .output()
      .err.split('\n')
      .find((text) => text.includes('router is ready'))
    return line === undefined ? undefined : (JSON.parse(line) as { address: string }).address
  })
