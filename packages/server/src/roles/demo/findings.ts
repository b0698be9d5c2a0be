// The verdict on what the servers have: pure, so that its severity can be tested.
import type { DataSet } from './data-set.ts'
import { counted } from './wording.ts'

/** What one server has. */
export interface Finding {
  /** Id of the shard that it belongs to. */
  readonly shard: string
  readonly server: string
  readonly isPrimary: boolean
  /** Rows by table, wherever they belong. */
  readonly counts: Readonly<Record<string, number>>
  /** By table, the keys that it has and that its shard owns. */
  readonly owned: ReadonlyMap<string, ReadonlySet<string>>
  /** Rows whose key another shard owns. */
  readonly wrong: number
}

/** All that is not as it should be: rows on a wrong shard, lost, doubled, or not the same on a replica. */
export function failuresOf(dataSets: readonly DataSet[], findings: readonly Finding[]): readonly string[] {
  const strays = findings
    .filter(({ wrong }) => wrong > 0)
    .map(({ server, wrong }) => `${server} has ${counted(wrong)} rows of other shards`)
  return [...strays, ...dataSets.flatMap((dataSet) => failuresOfTable(dataSet, findings))]
}

function failuresOfTable({ table, rows }: DataSet, findings: readonly Finding[]): readonly string[] {
  const failures: string[] = []
  const keysOf = ({ owned }: Finding): ReadonlySet<string> => owned.get(table) ?? new Set()
  const countOf = ({ counts }: Finding): number => counts[table] ?? 0
  const primaries = findings.filter(({ isPrimary }) => isPrimary)
  const lost = rows.filter(([key]) => !primaries.some((primary) => keysOf(primary).has(key))).length
  if (lost > 0) failures.push(`${counted(lost)} rows of ${table} are not where they belong`)
  const there = primaries.reduce((sum, primary) => sum + countOf(primary), 0)
  if (there !== rows.length)
    failures.push(`${table} has ${counted(there)} rows and should have ${counted(rows.length)}`)
  for (const copy of findings.filter(({ isPrimary }) => !isPrimary)) {
    const primary = primaries.find(({ shard }) => shard === copy.shard)
    const copied = keysOf(copy)
    const isSame =
      primary !== undefined &&
      countOf(copy) === countOf(primary) &&
      [...keysOf(primary)].every((key) => copied.has(key))
    if (!isSame) failures.push(`${copy.server} has other rows of ${table} than its primary`)
  }
  return failures
}
