// What the proxy does to a link is what its name says, and nothing is left of it when it is healed.
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { FaultProxy } from './proxy.ts'

let stack: AsyncDisposableStack
let proxy: FaultProxy
/** What came to the far end. */
let received: string

beforeEach(async () => {
  stack = new AsyncDisposableStack()
  received = ''
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString()
      socket.write(chunk)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  stack.defer(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  proxy = stack.use(await FaultProxy.open({ host: '127.0.0.1', port }))
})
afterEach(() => stack.disposeAsync())

/** A connection through the link, and what it hears. */
async function open(): Promise<{ readonly socket: Socket; readonly heard: () => string }> {
  const socket = connect(proxy.port, '127.0.0.1')
  socket.on('error', () => undefined)
  let heard = ''
  socket.on('data', (chunk: Buffer) => (heard += chunk.toString()))
  stack.defer(() => void socket.destroy())
  await once(socket, 'connect')
  return { socket, heard: () => heard }
}

/** Its end, however it comes. */
const closeOf = (socket: Socket): Promise<unknown> =>
  new Promise((resolve) => {
    socket.once('close', resolve)
  })

it('passes everything on while it is whole', async () => {
  const { socket, heard } = await open()
  socket.write('hello')
  await vi.waitFor(() => {
    expect(heard()).toBe('hello')
  })
})

it('resets connections when it is cut, new ones as well, and takes them again when it is healed', async () => {
  const first = await open()
  first.socket.write('a')
  await vi.waitFor(() => {
    expect(first.heard()).toBe('a')
  })
  const closed = closeOf(first.socket)
  proxy.cut()
  await closed
  const second = connect(proxy.port, '127.0.0.1')
  second.on('error', () => undefined)
  await closeOf(second)
  proxy.heal()
  const third = await open()
  third.socket.write('b')
  await vi.waitFor(() => {
    expect(third.heard()).toBe('b')
  })
})

it('loses one direction and keeps the other, without telling anyone', async () => {
  const { socket, heard } = await open()
  socket.write('a')
  await vi.waitFor(() => {
    expect(heard()).toBe('a')
  })
  proxy.hang(['down'])
  socket.write('b')
  await vi.waitFor(() => {
    expect(received).toBe('ab')
  })
  expect({ heard: heard(), isOpen: !socket.destroyed }).toEqual({ heard: 'a', isOpen: true })
  const closed = closeOf(socket)
  proxy.heal()
  await closed
})

it('delays', async () => {
  const { socket, heard } = await open()
  proxy.delay(150, ['up'])
  const began = performance.now()
  socket.write('a')
  await vi.waitFor(() => {
    expect(heard()).toBe('a')
  })
  expect(performance.now() - began).toBeGreaterThan(140)
})

it('is slow, and quick again at once when it is healed', async () => {
  const { socket, heard } = await open()
  proxy.slow(1)
  socket.write('ab')
  await vi.waitFor(() => {
    expect(proxy.connections).toBe(1)
  })
  expect(heard()).toBe('')
  proxy.heal()
  await vi.waitFor(() => {
    expect(heard()).toBe('ab')
  })
})
