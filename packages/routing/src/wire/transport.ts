// Opens the socket of a connection: TCP or Unix, plain or TLS. What comes in is handed to one function, in memory
// that is reused.
import { connect, isIP, type Socket, type SocketConnectOpts } from 'node:net'
import { connect as connectTls, type SecureContext, type TLSSocket } from 'node:tls'
import { isFleetError } from '@fleetshard/core'
import { WireWriter, writeSslRequest } from '../pgwire/mod.ts'
import { connectError, networkFailure, type ServerAddress } from './errors.ts'

const keepAliveDelayMs = 30_000

/**
 * All plain sockets of a thread read into this: a read is consumed before the next one begins, and a buffer for each
 * of thousands of connections would cost 64 KiB each.
 */
const readBuffer = Buffer.allocUnsafeSlow(64 * 1024)

/** Takes `buf[0, length)`; the bytes are valid during the call only. */
export type BytesReceiver = (buf: Buffer, length: number) => void

/** Where to connect and how. */
export interface TransportTarget extends ServerAddress {
  readonly tls: 'disable' | 'require' | 'verify-full'
  readonly ca?: string
  readonly tlsContext?: () => SecureContext
}

/** An open socket. Its owner listens to `close` and `error`. */
export interface Transport {
  readonly socket: Socket
  readonly encrypted: boolean
  /** The server's certificate in DER, under TLS. */
  readonly certificate: Buffer | null
  /** True for Unix sockets and loopback: nobody else can listen. */
  readonly local: boolean
}

/**
 * Connects, under TLS if asked for. An abort of the signal closes the socket.
 * @throws FleetError `shard_unavailable`; the signal's reason after an abort
 */
export async function openTransport(
  target: TransportTarget,
  receive: BytesReceiver,
  signal: AbortSignal,
): Promise<Transport> {
  signal.throwIfAborted()
  const unix = target.host.startsWith('/')
  const encrypt = target.tls !== 'disable' && !unix
  const socket = connect(connectOptions(target, unix, encrypt ? null : receive))
  const onAbort = (): void => {
    socket.destroy(signal.reason as Error)
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await settled(socket, 'connect')
    const local = unix || isLoopback(socket.remoteAddress)
    if (!encrypt) return { socket, encrypted: false, certificate: null, local }
    await requestTls(socket, target)
    return { ...(await upgrade(socket, target, receive)), local }
  } catch (error) {
    socket.destroy()
    signal.throwIfAborted()
    throw isFleetError(error) ? error : connectError(target, networkFailure(error))
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

function connectOptions(
  target: TransportTarget,
  unix: boolean,
  receive: BytesReceiver | null,
): SocketConnectOpts {
  const common = {
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: keepAliveDelayMs,
    ...(receive === null ? {} : { onread: { buffer: readBuffer, callback: plainReader(receive) } }),
  }
  if (unix) return { ...common, path: `${target.host}/.s.PGSQL.${String(target.port)}` }
  return { ...common, host: target.host, port: target.port }
}

function plainReader(receive: BytesReceiver): (length: number) => boolean {
  return (length) => {
    receive(readBuffer, length)
    return true
  }
}

/** Resolves at the event, rejects when the socket fails or closes before. */
function settled(socket: Socket, event: 'connect' | 'secureConnect'): Promise<void> {
  return new Promise((resolve, reject) => {
    const onClose = (): void => {
      finish(() => {
        reject(new Error('the server closed the connection'))
      })
    }
    const onError = (error: Error): void => {
      finish(() => {
        reject(error)
      })
    }
    const onEvent = (): void => {
      finish(resolve)
    }
    const finish = (settle: () => void): void => {
      socket.off(event, onEvent).off('close', onClose).off('error', onError)
      // An error that comes later must not end the process; the owner sees `close`.
      socket.on('error', ignore)
      settle()
    }
    socket.once(event, onEvent).once('close', onClose).once('error', onError)
  })
}

function ignore(): void {
  // The close event that follows is what counts.
}

/** SSLRequest; the answer is one byte, and anything more would be bytes smuggled in front of the encryption. */
async function requestTls(socket: Socket, target: TransportTarget): Promise<void> {
  const request = new WireWriter()
  writeSslRequest(request)
  socket.write(request.bytes())
  const answer = await firstBytes(socket)
  if (answer.length === 1 && answer[0] === 0x53) return
  if (answer.length === 1 && answer[0] === 0x4e) {
    throw connectError(target, {
      reason: 'the server does not offer TLS',
      hint: 'turn on ssl in the server, or set the TLS mode of the node to disable',
      retryable: false,
    })
  }
  throw connectError(target, {
    reason: 'the answer to the request for TLS is not that of a Postgres server',
    hint: 'check host and port',
    retryable: false,
  })
}

function firstBytes(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const onClose = (): void => {
      reject(new Error('the server closed the connection'))
    }
    socket.once('close', onClose)
    socket.once('data', (bytes) => {
      socket.off('close', onClose)
      socket.pause()
      resolve(bytes as Buffer)
    })
  })
}

async function upgrade(
  plain: Socket,
  target: TransportTarget,
  receive: BytesReceiver,
): Promise<Omit<Transport, 'local'>> {
  const socket: TLSSocket = connectTls({
    socket: plain,
    host: target.host,
    ...(isIP(target.host) === 0 ? { servername: target.host } : {}),
    ...(target.ca === undefined ? {} : { ca: target.ca }),
    ...(target.tlsContext === undefined ? {} : { secureContext: target.tlsContext() }),
    rejectUnauthorized: target.tls === 'verify-full',
  })
  plain.once('close', () => socket.destroy())
  await settled(socket, 'secureConnect')
  socket.on('data', (bytes: Buffer) => {
    receive(bytes, bytes.length)
  })
  return { socket, encrypted: true, certificate: socket.getPeerX509Certificate()?.raw ?? null }
}

function isLoopback(address: string | undefined): boolean {
  return address !== undefined && (address === '::1' || /^(?:::ffff:)?127\./.test(address))
}
