// `@fleetshard/client/kysely`: Kysely over the client, for a shard, for all of them, or placed by the SQL.
export { FleetShardDialect, kyselyFor, type KyselyTarget } from './dialect.ts'
