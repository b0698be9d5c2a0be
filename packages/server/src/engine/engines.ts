// The table of engines: adding one is a folder and a line here.
import { createPostgresEngine } from './postgres/engine.ts'
import type { EngineName, EngineParts, ShardEngine } from './shard-engine.ts'

const ENGINES = {
  postgres: createPostgresEngine,
} as const satisfies Record<EngineName, (parts: EngineParts) => ShardEngine>

/** The engine of a keyspace. Cheap, without I/O. */
export function createEngine(name: EngineName, parts: EngineParts): ShardEngine {
  return ENGINES[name](parts)
}
