// What the logs of a cluster tell under the key `event`.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Cluster } from './cluster.ts'

/** A line of the log. */
export type LogEvent = Readonly<Record<string, unknown>>

/** All events of that name that the cluster's log has so far, in their order. */
export function eventsOf({ dataDir }: Pick<Cluster, 'dataDir'>, name: string): readonly LogEvent[] {
  return readFileSync(join(dataDir, 'fleetshard.log'), 'utf8')
    .split('\n')
    .filter((line) => line.includes(`"event":"${name}"`))
    .map((line) => JSON.parse(line) as LogEvent)
}
