// Attempts to get around TLS: old versions, plaintext where TLS is demanded, bytes slipped in before the handshake,
// certificates of others.
import { readFileSync } from 'node:fs'
import { connect as connectPlain } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Cluster, temporaryFolder } from '../e2e/harness/cluster.ts'
import { fleetshard } from '../e2e/harness/processes.ts'

let cluster: Cluster
let certs = ''
const pem = (name: string): string => readFileSync(join(certs, name), 'utf8')

beforeAll(async () => {
  const folder = temporaryFolder()
  certs = join(folder, 'certs')
  await fleetshard(['certs', 'init', '--dir', certs])
  const tls = { cert: 'router.crt', key: 'router.key', ca: 'ca.crt' }
  const up = Object.entries(tls).map(([name, file]) => `--tls-${name}=${join(certs, file)}`)
  const words = ['--shards=1', '--replicas=0', '--auth=required', '--router-wire-tls=required', ...up]
  cluster = new Cluster({ up: words }, folder)
  await cluster.start()
})
afterAll(async () => {
  await (cluster as Cluster | undefined)?.[Symbol.asyncDispose]()
})

const httpPorts = (): readonly number[] =>
  Object.entries(cluster.state.ports).flatMap(([name, port]) => (name === 'router.wire-port' ? [] : [port]))
const wirePort = (): number => cluster.state.ports['router.wire-port'] ?? 0

/** The version that was agreed on, or why there is none. */
function handshake(port: number, options: ConnectionOptions): Promise<string> {
  return new Promise((resolve) => {
    const socket = connectTls({ host: '127.0.0.1', port, ca: pem('ca.crt'), ...options })
    socket.once('error', (error: Error) => {
      resolve(`refused: ${error.message}`)
    })
    socket.once('secureConnect', () => {
      resolve(String(socket.getProtocol()))
      socket.destroy()
    })
  })
}

const version = (name: 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3'): ConnectionOptions => ({
  minVersion: name,
  maxVersion: name,
  ciphers: 'DEFAULT@SECLEVEL=0',
})

/** All that a server sends until it closes the connection. */
function told(port: number, ...pieces: readonly Buffer[]): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    const socket = connectPlain({ host: '127.0.0.1', port }, () => {
      for (const piece of pieces) socket.write(piece)
    })
    socket.setEncoding('latin1').on('data', (more: string) => (text += more))
    socket.on('error', () => undefined)
    socket.on('close', () => {
      resolve(text)
    })
  })
}

const sslRequest = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])

function startup(user: string): Buffer {
  const body = Buffer.from(`\0\x03\0\0user\0${user}\0database\0default\0\0`, 'latin1')
  const length = Buffer.alloc(4)
  length.writeInt32BE(body.length + 4)
  return Buffer.concat([length, body])
}

describe('TLS cannot be talked down', () => {
  test('to a version before 1.2, on any port', async () => {
    expect(httpPorts().length).toBe(7)
    for (const port of [...httpPorts(), wirePort()]) {
      const alpn = port === wirePort() ? { ALPNProtocols: ['postgresql'] } : {}
      const own = { cert: pem('client.crt'), key: pem('client.key'), ...alpn }
      for (const old of ['TLSv1', 'TLSv1.1'] as const)
        expect(await handshake(port, { ...own, ...version(old) }), `${old} on ${String(port)}`).toMatch(
          /^refused/,
        )
      for (const good of ['TLSv1.2', 'TLSv1.3'] as const)
        expect(await handshake(port, { ...own, ...version(good) })).toBe(good)
    }
  })

  test('to no encryption, and nobody is asked for a password before', async () => {
    for (const user of ['token', 'app', 'nobody']) {
      const answer = await told(wirePort(), startup(user))
      expect(answer).toContain('C28000')
      expect(answer).toContain('TLS only')
      // No request for authentication: it begins with R.
      expect(answer.startsWith('E')).toBe(true)
    }
  })

  test('by bytes that are slipped in before the handshake', async () => {
    const answer = await told(wirePort(), Buffer.concat([sslRequest, startup('token')]))
    expect(answer).toMatch(/^SE[^]*C08P01[^]*in front of the encryption/)
  })

  test('to plain HTTP', async () => {
    for (const port of httpPorts())
      await expect(fetch(`http://127.0.0.1:${String(port)}/health`)).rejects.toThrow()
  })

  test('to ciphers without authentication or encryption', async () => {
    const weak = { ciphers: 'aNULL:eNULL@SECLEVEL=0', maxVersion: 'TLSv1.2' } as const
    for (const port of httpPorts()) expect(await handshake(port, weak)).toMatch(/^refused/)
  })
})

test('the agent takes no caller without a certificate, whatever the others do', async () => {
  const { host, hostname, port } = new URL(cluster.state.urls.agent)
  expect(host).toContain('127.0.0.1')
  const read = (options: ConnectionOptions): Promise<string> =>
    new Promise((resolve) => {
      const socket = connectTls({ host: hostname, port: Number(port), ca: pem('ca.crt'), ...options }, () => {
        socket.write('GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n')
      })
      let text = ''
      socket.setEncoding('utf8').on('data', (more: string) => (text += more))
      socket.on('error', () => undefined)
      socket.on('close', () => {
        resolve(text)
      })
    })
  expect(await read({})).toBe('')
  expect(await read({ cert: pem('manager.crt'), key: pem('manager.key') })).toContain('200 OK')
})
