// `lookup`: from a key to its shard, at 1,000 shards with 256 vnodes each. Peer: the same with BigInt and a binary
// search over the sorted tokens, as one would write it first.
import {
  buildShardMap,
  HASHES,
  makeHash64,
  parseKey,
  type CanonicalKey,
  type ShardMap,
} from '@fleetshard/core'
import { alternate, medianRuns, ratio, type Variant } from '../harness/alternate.ts'
import { atMost, describeMachine, type Report, type Run } from '../harness/report.ts'
import { largeSnapshot } from './large-snapshot.ts'

const shardCount = 1_000
const vnodeCount = 256
const keyCount = 100_000
const rounds = 7
const passes = 10

/** Measures the lookup. */
export async function lookup(onRun: (run: Run) => void): Promise<Report> {
  const map = buildShardMap(largeSnapshot(shardCount, vnodeCount))
  const keys = Array.from({ length: keyCount }, (_, index) =>
    parseKey(`user-${String(index * 7919)}`, 'text'),
  )
  const variants = [fleetshard(map, keys), binarySearch(map, keys)]
  for (const variant of variants) await variant.run(1)
  const measured = await alternate(variants, 1, rounds, onRun)
  const microseconds = (run: Run): number => 1e6 / run.ops_per_s
  const runs = medianRuns(measured)
  const ours = runs.find(({ variant }) => variant === 'fleetshard')
  if (ours === undefined) throw new Error('the lookup was not measured')
  return {
    workload: 'lookup',
    machine: describeMachine(),
    runs,
    ratios: {
      'fleetshard / binary search, time': ratio(measured, 'fleetshard', 'binary search', microseconds),
    },
    targets: [atMost('lookup at 1,000 shards × 256 vnodes, µs', 0.3, microseconds(ours))],
    notes: [`${String(map.vnodeCount)} vnodes; hashing the key included`],
  }
}

function timed(name: string, work: () => number): Variant {
  return {
    name,
    run(clients) {
      const cpu = process.cpuUsage()
      const begun = performance.now()
      let sum = 0
      for (let pass = 0; pass < passes; pass += 1) sum += work()
      const elapsedMs = performance.now() - begun
      const used = process.cpuUsage(cpu)
      if (!(sum > 0)) throw new Error('the lookups found nothing')
      const operations = keyCount * passes
      return Promise.resolve({
        variant: name,
        clients,
        ops_per_s: (operations * 1000) / elapsedMs,
        p50_ms: null,
        p99_ms: null,
        cpu_us_per_op: (used.user + used.system) / operations,
        rss_mb: process.memoryUsage.rss() / 2 ** 20,
      })
    },
  }
}

const fleetshard = (map: ShardMap, keys: readonly CanonicalKey[]): Variant =>
  timed('fleetshard', () => {
    let sum = 0
    for (const key of keys) sum += map.vnodeOf(key, 'text')
    return sum
  })

function binarySearch(map: ShardMap, keys: readonly CanonicalKey[]): Variant {
  const { ring } = map
  if (ring === null) throw new Error('the map has no ring')
  const tokens = Array.from(
    { length: ring.size },
    (_, index) => (BigInt(ring.hi[index] ?? 0) << 32n) | BigInt(ring.lo[index] ?? 0),
  )
  const cell = makeHash64()
  return timed('binary search', () => {
    let sum = 0
    for (const key of keys) {
      HASHES.murmur3.ofKey(key, 'text', cell)
      const hash = (BigInt(cell.hi) << 32n) | BigInt(cell.lo)
      let low = 0
      let high = tokens.length
      while (low < high) {
        const middle = (low + high) >>> 1
        if ((tokens[middle] ?? 0n) < hash) low = middle + 1
        else high = middle
      }
      sum += low
    }
    return sum
  })
}
