// /api/v1/vdiff
import { CreateVdiff, VdiffJob } from '@fleetshard/core/contract'
import { accepted, ok, route, type Route } from '../../../runtime/http/mod.ts'
import { requireVdiffJob, submitVdiff } from '../vdiff.ts'
import { vdiffJobView } from '../views.ts'
import { change, idParams, keyspaceDefault, type Api } from './context.ts'

const tag = 'vdiff'
const url = '/api/v1/vdiff'

/** Endpoints that compare the rows of shards. */
export const vdiffRoutes = (api: Api): readonly Route[] => [create(api), get(api)]

const create = (api: Api): Route =>
  route({
    method: 'POST',
    url,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Compare rows: whether each lies on the shard of its key, once, and reference tables are alike',
    body: CreateVdiff,
    answers: { 202: VdiffJob },
    handle: async ({ body }, call) => {
      const keyspace = body.keyspace ?? keyspaceDefault
      return change(api, { what: 'vdiff.create', target: keyspace }, call, async (work) => {
        const job = await submitVdiff(work, keyspace, body)
        work.change.after({ job: job.id })
        return accepted(vdiffJobView(job), `${url}/${job.id}`)
      })
    },
  })

const get = ({ parts }: Api): Route =>
  route({
    method: 'GET',
    url: `${url}/:id`,
    tag,
    kind: 'read',
    permission: 'view',
    summary: 'One comparison, with what was found so far',
    params: idParams,
    answers: { 200: VdiffJob },
    handle: async ({ params }) => ok(vdiffJobView(requireVdiffJob(parts.fleet.job(params.id)))),
  })
