// Calls to an etcd cluster: one client a member, the next member when one fails, a deadline on every call, errors
// in our terms. The client library's own retries are off: it would repeat a transaction whose outcome is unknown,
// and report the repetition's conflict.
import { rootCertificates } from 'node:tls'
import { FleetError, isFleetError, type Clock } from '@fleetshard/core'
import type { Etcd3, IOptions } from 'etcd3'
import type { TlsSource } from '../../../runtime/mod.ts'
import { unavailable, withDeadline } from '../../deadline.ts'

/** Largest answer: a page of a read, or a fragment of a watch. */
const receiveBytesMax = 96 * 1024 * 1024

/** Where the cluster is. */
export interface EtcdAddress {
  /** `host:port` of each member. */
  readonly members: readonly string[]
  /** Null for plain connections; `system` trusts what the system trusts and shows nothing. */
  readonly tls?: TlsSource | 'system' | null
  readonly auth?: { readonly username: string; readonly password: string }
}

export interface MembersDeps {
  readonly clock: Clock
  readonly address: EtcdAddress
  readonly deadlineMs: number
}

/** What a call needs. `deadline` is wall time, for the call's own options. */
export interface CallContext {
  readonly client: Etcd3
  readonly deadline: number
}

export interface Members {
  readonly count: number
  /**
   * Calls a member. `once`: not repeated when it may have arrived.
   * @throws FleetError `catalog_unavailable`, `lease_lost`, `invalid_config`, and the signal's reason
   */
  call<T>(
    use: (context: CallContext) => Promise<T>,
    options: { readonly once?: boolean; readonly signal?: AbortSignal | undefined },
  ): Promise<T>
  /** The client of the member in use, for a stream. */
  current(): Promise<Etcd3>
  /** Another member from now on. */
  next(): void
  close(): void
}

/** Passes calls through: see above why nothing is retried here. */
const noPolicy = {
  execute: async <T>(use: (context: { signal: AbortSignal }) => PromiseLike<T> | T): Promise<T> =>
    use({ signal: new AbortController().signal }),
  onSuccess: () => ({ dispose: () => undefined }),
  onFailure: () => ({ dispose: () => undefined }),
}

type Policy = NonNullable<NonNullable<IOptions['faultHandling']>['global']>

function clientOptions(member: string, { auth, tls = null }: EtcdAddress): IOptions {
  // The type has a marker that no policy has at run time.
  const policy = noPolicy as unknown as Policy
  return {
    hosts: [`${tls === null ? 'http' : 'https'}://${member}`],
    ...(tls === null ? {} : { credentials: credentialsOf(tls) }),
    faultHandling: { global: policy, host: () => policy },
    grpcOptions: {
      'grpc.max_receive_message_length': receiveBytesMax,
      'grpc.keepalive_time_ms': 10_000,
      'grpc.keepalive_timeout_ms': 5_000,
      'grpc.keepalive_permit_without_calls': 1,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 2_000,
    },
    ...(auth === undefined ? {} : { auth: { ...auth } }),
  }
}

/** The library wants authorities named. */
function credentialsOf(tls: TlsSource | 'system'): NonNullable<IOptions['credentials']> {
  const none = { ca: null, certificate: null, key: null }
  const { ca, certificate, key } = tls === 'system' ? none : tls.texts()
  return {
    rootCertificate: Buffer.from(ca ?? rootCertificates.join('\n')),
    ...(certificate === null || key === null
      ? {}
      : { certChain: Buffer.from(certificate), privateKey: Buffer.from(key) }),
  }
}

function closeSoon(client: Promise<Etcd3>): void {
  client.then(
    (opened) => {
      opened.close()
    },
    () => undefined,
  )
}

/** No I/O before the first call. The library is loaded then, too: most processes never need it. */
export function createMembers({ clock, address, deadlineMs }: MembersDeps): Members {
  const clients = new Map<string, Promise<Etcd3>>()
  const count = address.members.length
  let chosen = 0
  let closed = false
  /** Of certificates that were replaced: calls and watches that began on them go on until they are replaced again. */
  let retired: Promise<Etcd3>[] = []
  const tls = address.tls ?? null
  const unfollow =
    tls === null || tls === 'system'
      ? null
      : tls.onChange(() => {
          for (const client of retired) closeSoon(client)
          retired = [...clients.values()]
          clients.clear()
        })

  async function open(member: string): Promise<Etcd3> {
    const { Etcd3 } = await import('etcd3')
    if (closed) throw unavailable('the store was closed')
    return new Etcd3(clientOptions(member, address))
  }

  function current(): Promise<Etcd3> {
    if (closed) return Promise.reject(unavailable('the store was closed'))
    const member = address.members[chosen % count] ?? ''
    let client = clients.get(member)
    if (client === undefined) clients.set(member, (client = open(member)))
    return client
  }

  function next(): void {
    chosen = (chosen + 1) % count
  }

  async function attempt<T>(use: (context: CallContext) => Promise<T>, once: boolean): Promise<T> {
    const deadline = clock.now() + deadlineMs
    // One more than there are members: the first may have been lost by a restart that is over by now.
    for (let left = count; ; left--) {
      try {
        return await use({ client: await current(), deadline })
      } catch (error) {
        if (!isOutage(error)) throw error
        next()
        if (left === 0 || (once && !wasNeverSent(error))) throw error
      }
    }
  }

  return {
    count,
    current,
    next,
    async call(use, { once = false, signal }) {
      try {
        return await withDeadline(clock, deadlineMs, signal, () => attempt(use, once))
      } catch (error) {
        if (signal?.aborted === true) throw error
        // A member that does not answer in time may be cut off from the others.
        if (isFleetError(error, 'catalog_unavailable')) next()
        throw translateError(error)
      }
    },
    close() {
      closed = true
      unfollow?.()
      for (const client of [...clients.values(), ...retired]) closeSoon(client)
    },
  }
}

/** What a failed call says. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** gRPC statuses that another member, or the same one later, may not give. */
function isOutage(error: unknown): boolean {
  return /UNAVAILABLE|DEADLINE_EXCEEDED|CANCELLED|INTERNAL|UNKNOWN|no leader|leader changed|timed out/.test(
    messageOf(error),
  )
}

/** True when the call failed before it left: then it can be repeated whatever it does. */
function wasNeverSent(error: unknown): boolean {
  return messageOf(error).includes('No connection established')
}

/** A failed call as a FleetError. */
export function translateError(error: unknown): FleetError {
  if (isFleetError(error)) return error
  const message = messageOf(error)
  if (message.includes('requested lease not found') || /^Lease .* is expired or revoked/.test(message)) {
    return new FleetError('lease_lost', 'the lease has ended', { cause: error })
  }
  if (/authentication failed|permission denied|user name is empty/i.test(message)) {
    return new FleetError('invalid_config', `etcd refuses its user: ${message}`, {
      hint: 'check the user and password of the catalog url',
      cause: error,
    })
  }
  return unavailable(`the catalog does not answer: ${message}`, error)
}
