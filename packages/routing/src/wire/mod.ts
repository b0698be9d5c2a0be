// The router's own connections to Postgres servers: pipelined, with prepared statements and small queries on top.
export type * from './types.ts'
export { PgServerError, serverFieldsOf, sqlError } from './errors.ts'
export { createPreparedStatements } from './prepared-statements.ts'
export { copyIn, exec, query, queryPrepared, script } from './query.ts'
export { connectServer } from './server-connection.ts'
export { ServerStatements, type StatementText } from './server-statements.ts'
