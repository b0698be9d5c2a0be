// The fastest HTTP server that can be had here: answers whatever comes with the same bytes, without parsing more than
// it must. Against it the load generator shows its own ceiling. Prints its port.
import { createServer, type AddressInfo } from 'node:net'

const body = '{"rows":[{"id":1}]}'
const answer = Buffer.from(
  `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${String(body.length)}\r\n\r\n${body}`,
)

const server = createServer({ noDelay: true }, (socket) => {
  // Each connection has one request under way, so what comes ends with a whole request.
  socket.on('data', () => socket.write(answer))
  socket.on('error', () => socket.destroy())
})
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${JSON.stringify({ port: (server.address() as AddressInfo).port })}\n`)
})
