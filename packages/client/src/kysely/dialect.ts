// Kysely's dialect of FleetShard: the language is that of Postgres, the driver is the client.
import {
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type DatabaseIntrospector,
  type Dialect,
  type DialectAdapter,
  type Driver,
  type KyselyConfig,
  type QueryCompiler,
} from 'kysely'
import { ClientDriver, type KyselyTarget } from './driver.ts'

export type { KyselyTarget } from './driver.ts'

/**
 * For `new Kysely({ dialect: new FleetShardDialect(target) })`. The client stays its maker's: `destroy()` of Kysely does
 * not close it.
 */
export class FleetShardDialect implements Dialect {
  readonly #target: KyselyTarget

  /** @param target `db.shard(key)`, or `db` itself for statements that say where they belong */
  constructor(target: KyselyTarget) {
    this.#target = target
  }

  /** Asked by Kysely. */
  createDriver(): Driver {
    return new ClientDriver(this.#target)
  }

  /** Asked by Kysely. */
  createQueryCompiler(): QueryCompiler {
    return new PostgresQueryCompiler()
  }

  /** Asked by Kysely. */
  createAdapter(): DialectAdapter {
    return new PostgresAdapter()
  }

  /** Asked by Kysely; introspection wants the handle of one shard. */
  // oxlint-disable-next-line typescript/no-explicit-any -- as Kysely declares it
  createIntrospector(db: Kysely<any>): DatabaseIntrospector {
    return new PostgresIntrospector(db)
  }
}

/**
 * Kysely for a target: `kyselyFor<Database>(db.shard('user-1'))` for the shard of a key, with transactions;
 * `kyselyFor<Database>(db)` places each statement by what it says, without transactions; `kyselyFor<Database>(db.all())`
 * reads from all shards. Cheap: make one for every key.
 */
export function kyselyFor<Database>(
  target: KyselyTarget,
  config: Omit<KyselyConfig, 'dialect'> = {},
): Kysely<Database> {
  return new Kysely<Database>({ ...config, dialect: new FleetShardDialect(target) })
}
