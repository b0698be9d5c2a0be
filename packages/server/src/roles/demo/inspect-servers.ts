// Act: every server is asked directly which rows it has. Each row must lie on the shard that owns its key, once, on the
// primary and on each replica, and nowhere else.
import type { NodeRecord, ShardMap, ShardRecord } from '@fleetshard/core'
import type { Act, Stage } from './act.ts'
import { ownerOf } from './batches.ts'
import { failuresOf, type Finding } from './findings.ts'
import { awaitReplay, keysOn } from './servers.ts'
import { bar, counted } from './wording.ts'

const barCells = 40

/** Counts the rows that lie where they should not, and shows how the rest is spread. */
export const inspectServers: Act = {
  name: 'inspect',
  title: 'every server is asked for its rows, past the router',
  async run(stage, say) {
    const map = await stage.map()
    const shards = [...map.shards.values()]
    const findings = await inspectShards(stage, { map, shards }, say)
    const spread = shards.map((shard) => spreadOf(stage, shard, findings))
    const total = stage.dataSets.reduce((sum, { rows }) => sum + rows.length, 0)
    const wrong = findings.reduce((sum, finding) => sum + finding.wrong, 0)
    return {
      figures: { wrong_shard: wrong, servers_inspected: findings.length, shards: spread },
      lines: [
        `${counted(total)} rows, each on the shard that owns its key: ${counted(wrong)} on a wrong one`,
        ...spread.map((shard) => lineOf(shard, total)),
      ],
      failures: failuresOf(stage.dataSets, findings),
    }
  },
}

/** What the servers of those shards have, asked one after the other when replicas have caught up. */
export async function inspectShards(
  stage: Stage,
  { map, shards }: { readonly map: ShardMap; readonly shards: readonly ShardRecord[] },
  say: (text: string) => void,
): Promise<readonly Finding[]> {
  await awaitReplay(stage)
  const findings: Finding[] = []
  for (const shard of shards)
    for (const node of shard.nodes) {
      say(`${shard.name}, ${node.role} ${node.id}`)
      findings.push(await inspect(stage, { map, shard, node }))
    }
  return findings
}

async function inspect(
  stage: Stage,
  { map, shard, node }: { readonly map: ShardMap; readonly shard: ShardRecord; readonly node: NodeRecord },
): Promise<Finding> {
  const counts: Record<string, number> = {}
  const owned = new Map<string, ReadonlySet<string>>()
  let wrong = 0
  for (const dataSet of stage.dataSets) {
    const keys = await keysOn(stage, node, dataSet)
    const right = keys.filter((key) => ownerOf(map, key, dataSet.keyType) === shard.id)
    wrong += keys.length - right.length
    counts[dataSet.table] = keys.length
    owned.set(dataSet.table, new Set(right))
    stage.signal.throwIfAborted()
  }
  return { shard: shard.id, server: node.id, isPrimary: node.role === 'primary', counts, owned, wrong }
}

/** A shard as the JSON result tells of it. */
interface Spread {
  readonly [name: string]: string | number | Readonly<Record<string, number>>
  readonly name: string
  readonly status: string
  readonly rows: number
  readonly tables: Readonly<Record<string, number>>
  readonly servers: number
}

function spreadOf(
  { dataSets }: Stage,
  { id, name, status, nodes }: ShardRecord,
  findings: readonly Finding[],
): Spread {
  const primary = findings.find(({ shard, isPrimary }) => shard === id && isPrimary)
  const tables = primary?.counts ?? Object.fromEntries(dataSets.map(({ table }) => [table, 0]))
  const rows = Object.values(tables).reduce((sum, count) => sum + count, 0)
  return { name, status, rows, tables, servers: nodes.length }
}

function lineOf({ name, rows, tables, servers }: Spread, total: number): string {
  const share = `${((rows / Math.max(total, 1)) * 100).toFixed(1)} %`
  const parts = Object.entries(tables).map(([table, count]) => `${counted(count)} ${table}`)
  const copies = `on ${String(servers)} ${servers === 1 ? 'server' : 'servers'}`
  return `${name}  ${bar(rows, total, barCells)} ${share.padStart(7)}  ${parts.join(', ')} ${copies}`
}
