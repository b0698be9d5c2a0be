// Loaded into the processes of a fault cluster ahead of the product (`node --import`): lets their connections to a port
// go through the link that a scenario has put there, so that one process can be cut off from one server and no other.
import { readFileSync } from 'node:fs'
import { Socket } from 'node:net'

/** How often it is looked whether links were put in; what is connected past one is reset then. */
const lookMs = 25

const file = process.env['FAULTS_DIAL_FILE'] ?? ''
const direct = new Map<number, Set<Socket>>()
let read = ''
let rules: Readonly<Record<string, number>> = {}

function look(): void {
  let text = ''
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    // No link was put in yet.
  }
  if (text === read) return
  read = text
  rules = text === '' ? {} : (JSON.parse(text) as Record<string, number>)
  for (const port of Object.keys(rules)) {
    for (const socket of direct.get(Number(port)) ?? []) socket.resetAndDestroy()
    direct.delete(Number(port))
  }
}

function remember(socket: Socket, port: number): void {
  const sockets = direct.get(port) ?? new Set()
  direct.set(port, sockets.add(socket))
  socket.once('close', () => sockets.delete(socket))
}

/** The options of a call, whose arguments are an object, a list that begins with one, or a port. */
function portOf(first: unknown): number {
  const options = Array.isArray(first) ? (first as readonly unknown[])[0] : first
  if (typeof options === 'number') return options
  return typeof options === 'object' && options !== null && 'port' in options ? Number(options.port) : 0
}

function redirected(first: unknown, port: number): unknown {
  if (typeof first === 'number') return port
  if (!Array.isArray(first)) return { ...(first as object), port }
  // The list is marked by a symbol: it has to stay the same one.
  const list = first as unknown[]
  list[0] = { ...(list[0] as object), port }
  return list
}

type Connect = (this: Socket, ...args: unknown[]) => Socket

if (file !== '') {
  const sockets = Socket.prototype as unknown as { connect: Connect }
  const connect = sockets.connect
  sockets.connect = function (first, ...rest) {
    const port = portOf(first)
    if (port === 0) return connect.call(this, first, ...rest)
    look()
    const link = rules[String(port)]
    if (link !== undefined) return connect.call(this, redirected(first, link), ...rest)
    remember(this, port)
    return connect.call(this, first, ...rest)
  }
  setInterval(look, lookMs).unref()
}
