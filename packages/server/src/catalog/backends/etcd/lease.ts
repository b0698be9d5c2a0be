// Leases of the etcd backend: etcd's own.
import { FleetError, isFleetError } from '@fleetshard/core'
import type { IDuplexStream, ILeaseKeepAliveRequest, ILeaseKeepAliveResponse } from 'etcd3'
import { unavailable } from '../../deadline.ts'
import type { StoreLease } from '../../store.ts'
import type { CallContext, Members } from './members.ts'

/** etcd counts in seconds, and raises what is below 1.5 times its election time-out (2 s by default) to that. */
export async function grantLease(members: Members, ttlMs: number, signal?: AbortSignal): Promise<StoreLease> {
  const TTL = Math.ceil(ttlMs / 1000)
  // A lease whose grant got lost ends by itself: granting again is harmless.
  const { ID } = await members.call(
    ({ client, deadline }) => client.leaseClient.leaseGrant({ TTL }, { deadline }),
    { signal },
  )
  const lease: StoreLease = {
    id: ID,
    keepAlive: (abort) => members.call((context) => keepAlive(context, ID), { signal: abort }),
    async revoke(abort) {
      try {
        await members.call(({ client, deadline }) => client.leaseClient.leaseRevoke({ ID }, { deadline }), {
          signal: abort,
        })
      } catch (error) {
        // It is gone, which is what was wanted.
        if (!isFleetError(error, 'lease_lost')) throw error
      }
    },
    async [Symbol.asyncDispose]() {
      await lease.revoke().catch(() => undefined)
    },
  }
  return lease
}

/** The call is a stream of requests and answers; one of each is sent on it. */
async function keepAlive({ client, deadline }: CallContext, ID: string): Promise<void> {
  const stream = await client.leaseClient.leaseKeepAlive({ deadline })
  try {
    stream.write({ ID })
    for await (const { TTL } of responsesOf(stream)) {
      if (Number(TTL) > 0) return
      throw new FleetError('lease_lost', 'the lease has ended')
    }
    throw unavailable('the catalog did not answer the renewal of a lease')
  } finally {
    stream.cancel()
  }
}

/** The library's streams are Node streams, which its types leave out. */
function responsesOf(
  stream: IDuplexStream<ILeaseKeepAliveRequest, ILeaseKeepAliveResponse>,
): AsyncIterable<ILeaseKeepAliveResponse> {
  return stream as unknown as AsyncIterable<ILeaseKeepAliveResponse>
}
