// The table of engines: adding one is a folder and a line here.
import { createPostgresEngine } from './postgres/engine.ts'
import { createPostgresReshardEngine } from './postgres/reshard/engine.ts'
import { createPostgresVdiffEngine } from './postgres/vdiff.ts'
import type { ReshardEngine } from './reshard-engine.ts'
import type { EngineName, EngineParts, ShardEngine } from './shard-engine.ts'
import type { VdiffEngine } from './vdiff-engine.ts'

const ENGINES = {
  postgres: createPostgresEngine,
} as const satisfies Record<EngineName, (parts: EngineParts) => ShardEngine>

/** The engine of a keyspace. Cheap, without I/O. */
export function createEngine(name: EngineName, parts: EngineParts): ShardEngine {
  return ENGINES[name](parts)
}

const RESHARD_ENGINES = {
  postgres: createPostgresReshardEngine,
} as const satisfies Record<EngineName, (parts: EngineParts) => ReshardEngine>

/** What moves rows between the shards of a keyspace. Cheap, without I/O. */
export function createReshardEngine(name: EngineName, parts: EngineParts): ReshardEngine {
  return RESHARD_ENGINES[name](parts)
}

const VDIFF_ENGINES = {
  postgres: createPostgresVdiffEngine,
} as const satisfies Record<EngineName, (parts: EngineParts) => VdiffEngine>

/** What reads rows to compare them. Cheap, without I/O. */
export function createVdiffEngine(name: EngineName, parts: EngineParts): VdiffEngine {
  return VDIFF_ENGINES[name](parts)
}
