// pg knows the key to cancel with but offers no way to use it.
import type pg from 'pg'
import { writeCancelRequest } from '@fleetshard/routing/pgwire'
import { RawConnection, targetOf, written } from '../../wire/connection.ts'

/** Sends a CancelRequest for what the client is doing, and waits until it was taken. */
export async function cancelByKey(client: pg.ClientBase, url: string): Promise<void> {
  const processId: unknown = Reflect.get(client, 'processID')
  const secret: unknown = Reflect.get(client, 'secretKey')
  if (typeof processId !== 'number' || typeof secret !== 'number') throw new Error('pg keeps no cancel key')
  const secretKey = Buffer.alloc(4)
  secretKey.writeInt32BE(secret)
  await using connection = await RawConnection.dial(targetOf(url))
  connection.send(
    written((out) => {
      writeCancelRequest(out, processId, secretKey)
    }),
  )
  await connection.read(() => false)
}
