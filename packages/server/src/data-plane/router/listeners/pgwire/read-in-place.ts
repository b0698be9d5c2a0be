// Accepted sockets that read into one buffer of the thread. Node allocates 64 KiB for each read of a socket otherwise,
// and hands the bytes through a stream. For sockets that connect there is an option, `onread`; for those that are
// accepted there is none, so their handle is given to a socket that has it. ADR 0024 has what that saves.
import { Socket, type OnReadOpts } from 'node:net'

const bufferBytes = 64 * 1024

/** What comes is consumed before the next read begins: a buffer for each of thousands of connections is not needed. */
const readBuffer = Buffer.allocUnsafeSlow(bufferBytes)

/**
 * The same connection in a socket that emits no `data`; reading has begun. To be called in the event that brought the
 * accepted socket, which is gone afterwards, with a server that leaves it paused (`pauseOnConnect`).
 * @param receive takes what was read; the bytes are valid during the call only
 */
export function readInPlace(accepted: Socket, receive: (chunk: Buffer) => void): Socket {
  const owner = accepted as unknown as { _handle: object | null }
  const handle = owner._handle
  // Closed before it was looked at.
  if (handle === null) return accepted
  owner._handle = null
  // Its server does not count it any more; without the handle the connection stays.
  accepted.destroy()
  const onread: OnReadOpts = {
    buffer: readBuffer,
    callback: (length) => {
      receive(readBuffer.subarray(0, length))
      return true
    },
  }
  return new Socket({ handle, onread } as object)
}
