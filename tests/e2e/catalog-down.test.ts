// The catalog dies by kill -9 and stays away: statements go on, also through a router that starts meanwhile, changes
// are refused with a time to try again; when it comes back, changes arrive at the router.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { RouterReady, ShardList } from '@fleetshard/core/contract'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { insertUser, startCluster, type Cluster } from './harness/cluster.ts'
import { send } from './harness/http.ts'
import { kill9, startFleetshard, type Running } from './harness/processes.ts'
import { until } from './harness/until.ts'

const writers = 8

let cluster: Cluster
beforeAll(async () => {
  cluster = await startCluster({ up: ['--replicas', '0'] })
  await cluster.makeUsers()
})
afterAll(async () => {
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
})

/** Pid of the catalog's postmaster. */
function catalogPid(): number {
  return Number(
    readFileSync(join(cluster.dataDir, 'servers/catalog/data/postmaster.pid'), 'utf8').split('\n')[0],
  )
}

/** Stops the catalog's server for good, by the agent, after having killed it. */
async function killCatalog(): Promise<void> {
  const token = readFileSync(join(cluster.dataDir, 'agent.token'), 'utf8').trim()
  kill9(catalogPid())
  const stopped = await send(
    'POST',
    `${cluster.state.urls.agent}/v1/servers/catalog/stop`,
    { mode: 'immediate' },
    { authorization: `Bearer ${token}` },
  )
  expect(stopped.status).toBe(200)
}

async function startCatalog(): Promise<void> {
  const token = readFileSync(join(cluster.dataDir, 'agent.token'), 'utf8').trim()
  const started = await send(
    'POST',
    `${cluster.state.urls.agent}/v1/servers/catalog/start`,
    {},
    { authorization: `Bearer ${token}` },
  )
  expect(started.status).toBe(200)
}

/** A router as a process of its own, on the cluster's catalog. */
function startRouter(mapFile: string): Running {
  const words = [
    '--router-http-port=0',
    '--router-wire-port=0',
    '--router-metrics-port=0',
    '--router-map-cache-file',
    mapFile,
  ]
  return startFleetshard(['router', '--catalog-url', cluster.state.catalog.url, ...words], {
    env: cluster.joinEnvironment,
  })
}

/** Where the router listens, from its log. */
async function urlOf(router: Running): Promise<string> {
  return until('the router is ready', () => {
    const line = router
      .output()
      .err.split('\n')
      .find((text) => text.includes('router is ready'))
    return line === undefined ? undefined : (JSON.parse(line) as { address: string }).address
  })
}

/** Writers that never stop for long, and what became of their writes. */
class Writers implements AsyncDisposable {
  readonly failures: unknown[] = []
  written = 0
  readonly #stop = new AbortController()
  readonly #writing = Array.from({ length: writers }, (_, writer) => this.#write(writer))

  async #write(writer: number): Promise<void> {
    for (let count = 0; !this.#stop.signal.aborted; count += 1) {
      const answer = await cluster.execute(insertUser(`w${String(writer)}-${String(count)}`)).catch(String)
      if (typeof answer === 'object' && answer.status === 200) this.written += 1
      else this.failures.push(answer)
    }
  }

  /** Resolves when that many more have been written. */
  async more(count: number): Promise<void> {
    const before = this.written
    await until('writes go on', () => this.written > before + count)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await Promise.all(this.#writing)
  }
}

const secretsOf = (mapFile: string): number =>
  Object.keys((JSON.parse(readFileSync(mapFile, 'utf8').split('\n')[0] ?? '') as { secrets: object }).secrets)
    .length

test('statements go on without the catalog, and changes arrive when it is back', async () => {
  const mapFile = join(cluster.folder, 'router.map')
  await using first = startRouter(mapFile)
  expect((await send('POST', `${await urlOf(first)}/v1/execute`, insertUser('warm'))).status).toBe(200)
  await until('the copy on disk has the password of every shard', () => secretsOf(mapFile) === 2)
  await using writing = new Writers()
  await writing.more(50)
  await killCatalog()
  await writing.more(200)

  first.kill('SIGKILL')
  await first.finished
  await using second = startRouter(mapFile)
  const url = await urlOf(second)
  for (let number = 0; number < 20; number += 1) {
    // Keys of both shards.
    const written = await send('POST', `${url}/v1/execute`, insertUser(`without-catalog-${String(number)}`))
    expect(written).toMatchObject({ status: 200 })
  }
  const read = { query: 'SELECT name FROM users WHERE user_id = $1', params: ['warm'] }
  expect((await send('POST', `${url}/v1/execute`, read)).body).toMatchObject({ row_count: 1 })
  expect((await send('GET', `${url}/ready`)).status).toBe(200)

  const refused = await until('the manager refuses changes', async () => {
    const answer = await cluster.manager('POST', '/api/v1/keyspaces', { name: 'refused' })
    return answer.status === 503 ? answer : undefined
  })
  expect(refused.body).toMatchObject({ retryable: true })
  expect(refused.headers.get('retry-after')).toMatch(/^\d+$/)
  expect((await cluster.manager<ShardList>('GET', '/api/v1/shards?vnodes=false')).body.shards).toHaveLength(2)
  await writing.more(100)

  await startCatalog()
  await until('changes are possible again', async () => {
    const { status } = await cluster.manager('POST', '/api/v1/keyspaces', { name: 'later' })
    return status === 201 || status === 409
  })
  for (const router of [cluster.state.urls.router, url])
    await until('the change has arrived at the routers', async () => {
      const { body } = await send<RouterReady>('GET', `${router}/ready`)
      return body.status === 'ready' && 'later' in body.epochs
    })
  await writing[Symbol.asyncDispose]()
  expect(writing.failures).toEqual([])
})

test('a catalog that only falls over is started again by the agent', async () => {
  const pid = catalogPid()
  kill9(pid)
  await until('another catalog server runs', () => catalogPid() !== pid)
  await until('the manager takes changes', async () => {
    const { status } = await cluster.manager('POST', '/api/v1/keyspaces', { name: 'after_crash' })
    return status === 201 || status === 409
  })
})
