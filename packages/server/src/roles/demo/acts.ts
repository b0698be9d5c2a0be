// The acts of the demo, in order. A new capability adds its line.
import type { Act } from './act.ts'
import { addShard } from './add-shard.ts'
import { catalogDown } from './catalog-down.ts'
import { inspectServers } from './inspect-servers.ts'
import { readRows } from './read-rows.ts'
import { splitShard } from './split-shard.ts'
import { throughClient } from './through-client.ts'
import { writeRows } from './write-rows.ts'

/** Played one after the other on one cluster, with the same rows. */
export const ACTS: readonly Act[] = [
  writeRows,
  readRows,
  throughClient,
  inspectServers,
  addShard,
  splitShard,
  catalogDown,
]
