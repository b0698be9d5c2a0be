// The peer of the `http` workload: what a team would write first. One fastify route, one pg.Pool of the same size as
// the router's limit, one database. Takes the connection string in PLAIN_URL; prints its port.
import type { AddressInfo } from 'node:net'
import { fastify } from 'fastify'
import pg from 'pg'

const pool = new pg.Pool({ connectionString: process.env['PLAIN_URL'], max: 100 })
const app = fastify()

app.post<{ Body: { query: string; params: unknown[] } }>('/v1/execute', async (request) => {
  const { rows, rowCount } = await pool.query<Record<string, unknown>>(
    request.body.query,
    request.body.params,
  )
  return { rows, row_count: rowCount }
})

await app.listen({ host: '127.0.0.1', port: 0 })
const address = app.server.address() as AddressInfo
process.stdout.write(`${JSON.stringify({ port: address.port })}\n`)
