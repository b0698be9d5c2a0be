// /api/v1/keyspaces/{keyspace}/tables
import { Type } from 'typebox'
import { ERRORS, FleetError, type ErrorCode, type JobId, type JobRecord } from '@fleetshard/core'
import {
  tableView,
  CreateTables,
  Table,
  TableCreation,
  TableList,
  TableSuggestionList,
} from '@fleetshard/core/contract'
import { created, gone, ok, route, type Answer, type Route } from '../../../runtime/http/mod.ts'
import { suggest } from '../keyspaces.ts'
import type { Work } from '../parts.ts'
import { refuseTablesDuringReshard } from '../reshard/guard.ts'
import { refuseDuringSchemaJob } from '../shards/create.ts'
import { askedTables, declareExisting, submitSchema, type AskedTable } from '../tables/declare.ts'
import { jobView } from '../views.ts'
import { change, keyspaceParams, type Api } from './context.ts'

const tag = 'tables'
const url = '/api/v1/keyspaces/:keyspace/tables'
const tableParams = Type.Object({ keyspace: Type.String(), table: Type.String() })

/** How long POST waits for a schema job that is given no time. */
const waitMsDefault = 30_000

/** Endpoints of tables. */
export const tableRoutes = (api: Api): readonly Route[] => [
  list(api),
  create(api),
  suggestions(api),
  get(api),
  remove(api),
]

const list = ({ parts }: Api): Route =>
  route({
    method: 'GET',
    url,
    tag,
    kind: 'read',
    permission: 'view',
    summary: 'Declared tables of a keyspace',
    params: keyspaceParams,
    answers: { 200: TableList },
    handle: async ({ params }) => ok({ tables: parts.fleet.keyspace(params.keyspace).tables.map(tableView) }),
  })

const suggestions = ({ parts }: Api): Route =>
  route({
    method: 'GET',
    url: `${url}/suggestions`,
    tag,
    kind: 'read',
    permission: 'view',
    summary: 'What the existing tables might be declared as, and why',
    params: keyspaceParams,
    answers: { 200: TableSuggestionList },
    handle: async ({ params }) => {
      const snapshot = parts.fleet.keyspace(params.keyspace)
      return ok({ suggestions: await suggest({ parts, engine: parts.engine('postgres') }, snapshot) })
    },
  })

const get = ({ parts }: Api): Route =>
  route({
    method: 'GET',
    url: `${url}/:table`,
    tag,
    kind: 'read',
    permission: 'view',
    summary: 'One declared table',
    params: tableParams,
    answers: { 200: Table },
    handle: async ({ params }) =>
      ok(tableView(parts.fleet.table(parts.fleet.keyspace(params.keyspace), params.table))),
  })

const create = (api: Api): Route =>
  route({
    method: 'POST',
    url,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Declare tables; with ddl, create them on every shard or on none',
    params: keyspaceParams,
    body: CreateTables,
    answers: { 201: TableCreation, 202: TableCreation },
    handle: async ({ params, body }, call) => {
      const asked = askedTables(body)
      const target = `${params.keyspace}/${asked.map(({ name }) => name).join(',')}`
      const { ddl, wait_ms: waitMs = waitMsDefault } = body
      if (ddl === undefined) {
        return change(api, { what: 'table.declare', target }, call, async (work) =>
          declare(work, params.keyspace, asked),
        )
      }
      const job = await change(api, { what: 'table.create', target }, call, async (work) => {
        const { keyspace } = api.parts.fleet.keyspace(params.keyspace)
        const submitted = await submitSchema(work, keyspace.name, asked, ddl)
        work.change.after({ job: submitted.id, tables: asked })
        return submitted
      })
      return answerOfJob(api, job, asked, waitMs)
    },
  })

async function declare(work: Work, keyspace: string, asked: readonly AskedTable[]): Promise<Answer> {
  const { fleet } = work.parts
  const { name } = fleet.keyspace(keyspace).keyspace
  const { tables, warnings } = await declareExisting(work, name, asked)
  work.change.after(tables)
  await fleet.shown(({ keyspaces }) => {
    const known = new Set(keyspaces.get(name)?.tables.map((table) => table.name))
    return tables.every((table) => known.has(table.name))
  })
  return created({ tables: tables.map(tableView), warnings: [...warnings], job: null }, locationOf(name))
}

const locationOf = (keyspace: string): string => `/api/v1/keyspaces/${keyspace}/tables`

/** Waits for the job outside of the change: others may go on meanwhile. */
async function answerOfJob(
  { parts }: Api,
  job: JobRecord,
  asked: readonly AskedTable[],
  waitMs: number,
): Promise<Answer> {
  const { fleet } = parts
  await fleet.until(({ jobs }) => isEnded(jobs.get(job.id)?.record), waitMs)
  const now = fleet.state().jobs.get(job.id)?.record ?? job
  if (now.status === 'failed' || now.status === 'cancelled') throw failureOf(now)
  if (now.status !== 'completed') {
    const location = `/api/v1/jobs/${job.id}`
    return {
      kind: 'json',
      status: 202,
      body: { tables: [], warnings: [], job: jobView(now) },
      headers: { location },
    }
  }
  const snapshot = fleet.keyspace(job.keyspace)
  const tables = asked.map(({ name }) => tableView(fleet.table(snapshot, name)))
  return created({ tables, warnings: [], job: jobView(now) }, locationOf(job.keyspace))
}

function isEnded(job: JobRecord | undefined): boolean {
  return job !== undefined && job.status !== 'pending' && job.status !== 'running'
}

function failureOf(job: JobRecord): FleetError {
  const code: ErrorCode =
    job.errorCode !== null && job.errorCode in ERRORS ? (job.errorCode as ErrorCode) : 'schema_failed'
  return new FleetError(code, job.errorMessage ?? `the schema job ${job.id} has ${job.status}`, {
    facts: { job_id: job.id satisfies JobId },
    hint: 'no shard was changed; correct the statements and try again',
  })
}

const remove = (api: Api): Route =>
  route({
    method: 'DELETE',
    url: `${url}/:table`,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Take a declaration back; the table itself stays on the shards',
    params: tableParams,
    answers: { 204: null },
    handle: async ({ params }, call) => {
      const target = `${params.keyspace}/${params.table}`
      return change(api, { what: 'table.delete', target }, call, async (work) => {
        const { parts } = api
        const snapshot = parts.fleet.keyspace(params.keyspace)
        const table = parts.fleet.table(snapshot, params.table)
        const keyspace = snapshot.keyspace.name
        work.change.before(table)
        await parts.mutex.run(keyspace, work.signal, async () => {
          refuseDuringSchemaJob(work, keyspace)
          refuseTablesDuringReshard(work, keyspace)
          await parts.catalog.tables.delete(keyspace, table.name, {
            conditions: [work.change.condition],
            signal: work.signal,
            ...(call.ifMatch === null ? {} : { expectedVersion: call.ifMatch }),
          })
        })
        await parts.fleet.shown(
          ({ keyspaces }) => !keyspaces.get(keyspace)?.tables.some(({ name }) => name === table.name),
        )
        return gone
      })
    },
  })
