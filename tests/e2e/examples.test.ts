// The examples as their READMEs say to run them: on a cluster in both modes, and on the databases of a topology file.
import { execFile } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { exec } from '@fleetshard/routing/wire'
import {
  postgresBuilds,
  startTestPostgres,
  type TestPostgres,
} from '../../packages/server/src/engine/postgres/wire/testing.ts'
import { type Cluster, insertUser, startCluster, temporaryFolder } from './harness/cluster.ts'
import { root } from './harness/paths.ts'

const examples = join(root, 'examples')
const repository = join(examples, 'users-repository')

/** Runs one with this Node. @throws with its output when it fails */
async function run(words: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<string> {
  return (await promisify(execFile)(process.execPath, [...words], { cwd: root, env })).stdout
}

const passed = (output: string): boolean => /^# fail 0$|^ℹ fail 0$/m.test(output) && /pass [1-9]/.test(output)

describe('on a cluster', () => {
  let cluster: Cluster
  let url = ''
  beforeAll(async () => {
    cluster = await startCluster()
    await cluster.makeUsers()
    url = cluster.state.urls.router
    for (const user of ['one', 'two', 'three']) await cluster.execute(insertUser(user))
  })
  afterAll(() => cluster[Symbol.asyncDispose]())

  test('the twenty lines are twenty, and work', async () => {
    const program = join(examples, 'quickstart-client/main.ts')
    expect(readFileSync(program, 'utf8').trimEnd().split('\n').length).toBeLessThanOrEqual(20)
    const output = await run([program, url])
    expect(output).toMatch(/^example-\d+ lies on shard-0\d\nits name is Ada\n/)
    expect(output).toContain('3 users on all shards, in direct mode')
  })

  test.each(['http', 'direct'])('the repository works in %s mode', async (mode) => {
    const env = { ROUTER_URL: url, MODE: mode }
    const output = await run([join(repository, 'main.ts')], env)
    expect(output).toContain('changed: Grace Hopper')
    const counts = [...output.matchAll(/^shard-0\d: (\d) users$/gm)].map(([, users]) => Number(users))
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(3)
    expect(passed(await run(['--test', join(repository, 'users.test.ts')], env))).toBe(true)
  })
})

test('the repository works on the databases of a topology file', async () => {
  const [build] = postgresBuilds()
  if (build === undefined) throw new Error('there is no Postgres')
  await using server = await startTestPostgres(build)
  const text = readFileSync(join(repository, 'topology.json'), 'utf8')
  for (const [name] of text.matchAll(/users_\d/g)) {
    await runOn(server, {}, `create database ${name} owner trusted`)
    await runOn(
      server,
      { database: name, user: 'trusted' },
      readFileSync(join(repository, 'schema.sql'), 'utf8'),
    )
  }
  const folder = temporaryFolder()
  onTestFinished(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  const file = join(folder, 'topology.json')
  const here = text
    .replaceAll('"port": 5432', `"port": ${String(server.port)}, "tls": "disable"`)
    .replaceAll('"localhost"', '"127.0.0.1"')
    .replaceAll('"user": "postgres"', '"user": "trusted"')
  writeFileSync(file, here)
  const env = { TOPOLOGY: file, PGPASSWORD: 'any' }
  expect(await run([join(repository, 'main.ts')], env)).toContain('changed: Grace Hopper')
  expect(passed(await run(['--test', join(repository, 'users.test.ts')], env))).toBe(true)
})

type Login = Parameters<TestPostgres['connect']>[0]

async function runOn(server: TestPostgres, login: Login, sql: string): Promise<void> {
  const connection = await server.connect(login)
  try {
    await exec(connection, sql)
  } finally {
    await connection.close()
  }
}
