// Starts a cluster and a router of its own process, and attacks that router.
import { startCluster } from '../e2e/harness/cluster.ts'
import { startFleetshard } from '../e2e/harness/processes.ts'
import { until } from '../e2e/harness/until.ts'
import { RawConnection } from '../wire/connection.ts'
import { nodeUrl, openWorld } from '../wire/direct.ts'
import { fuzzListener, type ListenerReport } from './listener.ts'

/** Sends that many mutated messages. */
export async function runListener(order: { messages: number; seed: number }): Promise<ListenerReport> {
  await using cluster = await startCluster({ up: ['--shards', '1', '--replicas', '0'] })
  await using world = await openWorld(nodeUrl(cluster, 'shard-1-a'))
  await world.reset()
  const { catalog } = cluster.state
  const words = ['router', '--http-port', '0', '--metrics-port', '0', '--catalog-url', catalog.url]
  const port = 20_000 + (process.pid % 10_000)
  await using router = startFleetshard(
    [...words, '--wire-port', String(port), '--router-wire-auth', 'trust', '--log-level', 'warn'],
    { env: cluster.joinEnvironment },
  )
  const target = { ...world.target, host: '127.0.0.1', port, database: 'default' }
  await until('the router listens', async () => {
    const { connection, greeting } = await RawConnection.open(target)
    await connection[Symbol.asyncDispose]()
    return greeting.at(-1)?.letter === 'Z'
  })
  const report = await fuzzListener({ target, pid: router.child.pid ?? 0 }, order)
  if (router.child.exitCode === null) return report
  return {
    ...report,
    holds: false,
    failures: [...report.failures, `the router ended: ${router.output().err}`],
  }
}
