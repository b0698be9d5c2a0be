// /api/v1/reshard
import type { JobId, JobRecord } from '@fleetshard/core'
import {
  MergeShards,
  MoveShard,
  RebalanceShards,
  ReshardJob,
  ReshardPlan,
  SplitShard,
} from '@fleetshard/core/contract'
import {
  accepted,
  ok,
  route,
  type Answer,
  type Call,
  type EventStream,
  type Route,
} from '../../../runtime/http/mod.ts'
import {
  orderOfMerge,
  orderOfMove,
  orderOfRebalance,
  orderOfSplit,
  planOf,
  submitReshard,
  type ReshardOrder,
} from '../reshard/orders.ts'
import { orderReshard, requireReshardJob } from '../reshard/control.ts'
import type { ReshardJobDetail } from '../../../engine/mod.ts'
import { reshardJobView } from '../views.ts'
import { change, idParams, type Api } from './context.ts'

const tag = 'reshard'
const url = '/api/v1/reshard'

/** Endpoints of splits, merges and moves. */
export const reshardRoutes = (api: Api): readonly Route[] => [
  split(api),
  merge(api),
  move(api),
  rebalance(api),
  get(api),
  order(api, 'pause', 'pause', 'Pause a job; its replication slots go on holding log on the sources'),
  order(api, 'resume', 'run', 'Let a paused job go on'),
  order(api, 'cancel', 'cancel', 'Cancel a job before its cutover; the targets are emptied'),
  order(
    api,
    'reverse',
    'reverse',
    'Bring the rows back, with all that was written since, by another cutover',
  ),
  order(api, 'complete', 'complete', 'Give the way back up before its time; the rows stay where they are'),
]

const answers = { 200: ReshardPlan, 202: ReshardJob }

const split = (api: Api): Route =>
  route({
    method: 'POST',
    url: `${url}/split`,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Divide the ranges and rows of a shard among other shards, or with itself, while it serves',
    body: SplitShard,
    answers,
    handle: async ({ body }, call) => begin(api, orderOfSplit(body), body.dry_run, call),
  })

const merge = (api: Api): Route =>
  route({
    method: 'POST',
    url: `${url}/merge`,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Bring the ranges and rows of several shards to one, while they serve',
    body: MergeShards,
    answers,
    handle: async ({ body }, call) => begin(api, orderOfMerge(body), body.dry_run, call),
  })

const move = (api: Api): Route =>
  route({
    method: 'POST',
    url: `${url}/move`,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Bring a shard to other servers, while it serves',
    body: MoveShard,
    answers,
    handle: async ({ body }, call) => begin(api, orderOfMove(body), body.dry_run, call),
  })

const rebalance = (api: Api): Route =>
  route({
    method: 'POST',
    url: `${url}/rebalance`,
    tag,
    kind: 'change',
    permission: 'operate',
    summary: 'Give a shard its share of the ranges and rows of all others, while they serve',
    body: RebalanceShards,
    answers,
    handle: async ({ body }, call) => begin(api, orderOfRebalance(api, body), body.dry_run, call),
  })

async function begin(
  api: Api,
  wanted: ReshardOrder,
  isDry: boolean | undefined,
  call: Call,
): Promise<Answer> {
  if (isDry === true) return ok(await planOf(api, wanted))
  const target = `${wanted.sources.join(',')} to ${wanted.targets.map(({ name }) => name).join(',')}`
  return change(api, { what: `reshard.${wanted.kind}`, target }, call, async (work) => {
    const job = await submitReshard(work, wanted)
    work.change.after({ job: job.id, sources: wanted.sources })
    return accepted(reshardJobView(job), `${url}/jobs/${job.id}`)
  })
}

const get = (api: Api): Route =>
  route({
    method: 'GET',
    url: `${url}/jobs/:id`,
    tag,
    kind: 'read',
    permission: 'view',
    summary: 'One split, merge or move; with Accept: text/event-stream, at every change until it has ended',
    params: idParams,
    answers: { 200: ReshardJob },
    handle: async ({ params }, call) => {
      const job = requireReshardJob(api.parts.fleet.job(params.id))
      if (!call.wantsEvents) return ok(reshardJobView(job))
      return api.streams.open(call, (stream) => follow(api, job.id, stream))
    },
  })

/** Sends the job now and at every change. @returns ends the subscription */
function follow({ parts }: Api, id: JobId, stream: EventStream): () => void {
  let sentVersion = -1
  function send(): void {
    const record: JobRecord | undefined = parts.fleet.state().jobs.get(id)?.record
    if (record === undefined) {
      stream.end()
      return
    }
    if (record.version !== sentVersion) stream.send('job', reshardJobView(record))
    sentVersion = record.version
    if (record.status !== 'pending' && record.status !== 'running') stream.end()
  }
  const unsubscribe = parts.fleet.subscribe(send)
  send()
  return unsubscribe
}

const order = (api: Api, word: string, wanted: ReshardJobDetail['order'], summary: string): Route =>
  route({
    method: 'POST',
    url: `${url}/jobs/:id/${word}`,
    tag,
    kind: 'change',
    permission: 'operate',
    summary,
    params: idParams,
    answers: { 202: ReshardJob },
    handle: async ({ params }, call) =>
      change(api, { what: `reshard.${word}`, target: params.id }, call, async (work) => {
        const job = await orderReshard(work, params.id, wanted)
        work.change.after({ job: job.id, order: wanted })
        return accepted(reshardJobView(job), `${url}/jobs/${job.id}`)
      }),
  })
