// Watches of the etcd backend: one gRPC stream each, opened again from the last revision seen after any error.
import type { Clock } from '@fleetshard/core'
import type { IDuplexStream, IEvent, IWatchRequest, IWatchResponse } from 'etcd3'
import type { Logger } from '../../../runtime/mod.ts'
import { createBackoff } from '../../deadline.ts'
import type { KeyRevision, StoreChange, StoreRevision, WatchEvent } from '../../store.ts'
import type { KeySpace } from './key-space.ts'
import { messageOf, type Members } from './members.ts'

/**
 * How long a silent stream is trusted when there are several members: one that is cut off from the others sends
 * nothing and says nothing. The stream is then opened again, at another member.
 */
const silenceMaxMs = 30_000

export interface WatchDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly members: Members
  readonly space: KeySpace
}

/** See the port. Ends without an error when the signal aborts. */
export async function* watchEvents(
  deps: WatchDeps,
  prefix: string,
  from: StoreRevision,
  signal: AbortSignal,
): AsyncIterable<WatchEvent> {
  const backoff = createBackoff(deps.clock)
  let position: StoreRevision = from
  while (!signal.aborted) {
    try {
      for await (const event of watchOnce(deps, prefix, position, signal)) {
        backoff.succeeded()
        if (event.kind === 'batch') position = event.revision
        yield event
        if (event.kind === 'compacted' || signal.aborted) return
      }
    } catch (error) {
      if (!signal.aborted) deps.log.debug({ reason: messageOf(error), prefix }, 'a watch is interrupted')
      // Whatever ended the stream: what came before it is kept, what comes after it is asked for again.
      deps.members.next()
    }
    await backoff.wait(signal).catch(() => undefined)
  }
}

/** One stream. Ends when the server or the silence ends it; throws when it breaks. */
async function* watchOnce(
  deps: WatchDeps,
  prefix: string,
  from: StoreRevision,
  signal: AbortSignal,
): AsyncIterable<WatchEvent> {
  const client = await deps.members.current()
  const stream = await client.watchClient.watch()
  const cancel = (): void => {
    stream.cancel()
  }
  signal.addEventListener('abort', cancel, { once: true })
  let cancelTimer = armSilence(deps, cancel)
  try {
    signal.throwIfAborted()
    stream.write({
      create_request: {
        ...deps.space.range(prefix),
        start_revision: String(BigInt(from) + 1n),
        fragment: true,
      },
    })
    let fragments: IEvent[] = []
    for await (const response of responsesOf(stream)) {
      cancelTimer()
      if (isCompacted(response) || (response.created && (await wentBack(deps, response, from, signal)))) {
        yield { kind: 'compacted' }
        return
      }
      if (response.canceled) return
      // A large revision comes in parts; only the last has no mark.
      fragments = fragments.concat(response.events)
      if (!response.fragment) {
        yield* toBatches(deps.space, fragments)
        fragments = []
      }
      cancelTimer = armSilence(deps, cancel)
    }
  } finally {
    cancelTimer()
    signal.removeEventListener('abort', cancel)
    stream.cancel()
  }
}

/** The library's streams are Node streams, which its types leave out; as such they pause when nobody reads. */
function responsesOf(stream: IDuplexStream<IWatchRequest, IWatchResponse>): AsyncIterable<IWatchResponse> {
  return stream as unknown as AsyncIterable<IWatchResponse>
}

function armSilence(deps: WatchDeps, cancel: () => void): () => void {
  return deps.members.count === 1 ? () => undefined : deps.clock.after(silenceMaxMs, cancel)
}

function isCompacted(response: IWatchResponse): boolean {
  return response.canceled && response.compact_revision !== '0'
}

/**
 * True when the store itself is behind our position: it was replaced by an older one. A member alone may lag, so
 * that the cluster is asked.
 */
async function wentBack(
  deps: WatchDeps,
  created: IWatchResponse,
  from: StoreRevision,
  signal: AbortSignal,
): Promise<boolean> {
  if (BigInt(created.header.revision) >= BigInt(from)) return false
  const { header } = await deps.members.call(
    ({ client, deadline }) =>
      client.kv.range({ key: deps.space.toEtcd(''), limit: 1, count_only: true }, { deadline }),
    { signal },
  )
  return BigInt(header.revision) < BigInt(from)
}

/** Events in their order; those of one revision are one batch. */
function* toBatches(space: KeySpace, events: readonly IEvent[]): Iterable<WatchEvent> {
  let revision: string | null = null
  let changes: StoreChange[] = []
  for (const { type, kv } of events) {
    if (revision !== null && kv.mod_revision !== revision) {
      yield { kind: 'batch', revision: revision as StoreRevision, changes }
      changes = []
    }
    revision = kv.mod_revision
    const key = space.fromEtcd(kv.key)
    // The wire's names are in capitals, whatever the library's types say.
    if (String(type).toUpperCase() === 'DELETE') changes.push({ kind: 'delete', key })
    else
      changes.push({ kind: 'put', key, value: kv.value.toString('utf8'), revision: revision as KeyRevision })
  }
  if (revision !== null) yield { kind: 'batch', revision: revision as StoreRevision, changes }
}
