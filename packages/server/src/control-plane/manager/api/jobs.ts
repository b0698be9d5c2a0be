// /api/v1/jobs
import type { JobId } from '@fleetshard/core'
import { Job, JobList, JobListQuery } from '@fleetshard/core/contract'
import { ok, route, type EventStream, type Route } from '../../../runtime/http/mod.ts'
import { jobView } from '../views.ts'
import { idParams, type Api } from './context.ts'

const tag = 'jobs'
const url = '/api/v1/jobs'
const limitDefault = 100

/** Endpoints of jobs. */
export const jobRoutes = (api: Api): readonly Route[] => [list(api), get(api)]

const list = ({ parts }: Api): Route =>
  route({
    method: 'GET',
    url,
    tag,
    kind: 'read',
    permission: 'view',
    summary: 'Jobs, the newest first',
    query: JobListQuery,
    answers: { 200: JobList },
    handle: async ({ query }) => {
      const jobs = [...parts.fleet.state().jobs.values()]
        .map(({ record }) => record)
        .filter((job) => (query.keyspace ?? job.keyspace) === job.keyspace)
        .filter((job) => (query.status ?? job.status) === job.status)
        .filter((job) => (query.type ?? job.type) === job.type)
        .toSorted((a, b) => b.createdAt.localeCompare(a.createdAt) || (a.id < b.id ? -1 : 1))
      return ok({ jobs: jobs.slice(0, query.limit ?? limitDefault).map(jobView) })
    },
  })

const get = (api: Api): Route =>
  route({
    method: 'GET',
    url: `${url}/:id`,
    tag,
    kind: 'read',
    permission: 'view',
    summary: 'One job; with Accept: text/event-stream, the job at every change until it has ended',
    params: idParams,
    answers: { 200: Job },
    handle: async ({ params }, call) => {
      const job = api.parts.fleet.job(params.id)
      if (!call.wantsEvents) return ok(jobView(job))
      return api.streams.open(call, (stream) => follow(api, job.id, stream))
    },
  })

/** Sends the job now and at every change. @returns ends the subscription */
function follow({ parts }: Api, id: JobId, stream: EventStream): () => void {
  let sentVersion = -1
  function send(): void {
    const stored = parts.fleet.state().jobs.get(id)
    if (stored === undefined) {
      stream.end()
      return
    }
    const { record } = stored
    if (record.version !== sentVersion) stream.send('job', jobView(record))
    sentVersion = record.version
    if (record.status !== 'pending' && record.status !== 'running') stream.end()
  }
  const unsubscribe = parts.fleet.subscribe(send)
  send()
  return unsubscribe
}
