// The fuzz of a listening router: connections that send mutated sessions, some from the first byte on, some after an
// orderly login, and then go away in every manner. Meanwhile a healthy client must get its answers; afterwards the
// router must hold no more sockets and memory than before.
import { readFileSync } from 'node:fs'
import { RawConnection, type Target } from '../wire/connection.ts'
import { query } from '../wire/script.ts'
import { loadCorpus, type Session } from './corpus.ts'
import { chunks, mutate } from './mutate.ts'
import { Random } from './random.ts'

/** What is attacked. */
export interface ListenerPrey {
  readonly target: Target
  /** Process of the router. */
  readonly pid: number
}

/** What a run found; `holds` is false when anything was wrong. */
export interface ListenerReport {
  readonly target: 'listener'
  readonly seed: number
  readonly connections: number
  readonly messages: number
  readonly seconds: number
  /** Answers that the healthy client got, and the slowest of them. */
  readonly healthy_answers: number
  readonly healthy_slowest_ms: number
  readonly sockets_before: number
  readonly sockets_after: number
  readonly rss_growth_mb: number
  readonly failures: readonly string[]
  readonly holds: boolean
  /** The same for people. */
  readonly lines: readonly string[]
}

/** Attackers at a time. */
const attackersMax = 16
/** How long an attacker waits for the rest of an answer before it goes. */
const patienceMs = 60
const healthyMsMax = 5_000
const healthyEvery = 25
const settleMsMax = 30_000
const settlePollMs = 200
const rssGrowthMbMax = 48
/** Statements that would keep a connection to the server for a minute. */
const slow = Buffer.from('pg_sleep')

/** Attacks until that many mutated messages were sent. */
export async function fuzzListener(
  prey: ListenerPrey,
  { messages, seed }: { readonly messages: number; readonly seed: number },
): Promise<ListenerReport> {
  const started = performance.now()
  const attack = new Attack(prey, seed)
  const failures: string[] = []
  await using healthy = await Healthy.open(prey.target)
  let warm: { rssMb: number } | null = null
  const before = socketsOf(prey.target.port)
  const worker = async (): Promise<void> => {
    while (attack.messages < messages && failures.length === 0) {
      await attack.once()
      if (attack.connections % healthyEvery === 0) {
        const wrong = await healthy.check()
        if (wrong !== null) failures.push(`after ${String(attack.connections)} connections: ${wrong}`)
      }
      if (attack.messages > messages / 3) warm ??= { rssMb: rssMb(prey.pid) }
    }
  }
  await Promise.all(Array.from({ length: attackersMax }, worker))
  const after = await settled(prey.target.port, before)
  if (after > before) failures.push(`${String(after - before)} sockets are left over`)
  const wrong = await healthy.check()
  if (wrong !== null) failures.push(`at the end: ${wrong}`)
  const growth = warm === null ? 0 : rssMb(prey.pid) - (warm as { rssMb: number }).rssMb
  if (growth > rssGrowthMbMax) failures.push(`memory grew by ${String(Math.round(growth))} MB`)
  return reportOf({ seed, started, attack, healthy, before, after, growth, failures })
}

/** Sends mutated sessions. */
class Attack {
  readonly #prey: ListenerPrey
  readonly #random: Random
  readonly #sessions: readonly Session[]
  readonly #others: readonly Buffer[]
  connections = 0
  messages = 0

  constructor(prey: ListenerPrey, seed: number) {
    this.#prey = prey
    this.#random = new Random(seed)
    const quick = loadCorpus().filter(({ fromClient }) => fromClient.every((each) => !each.includes(slow)))
    this.#sessions = quick
    this.#others = quick.flatMap(({ fromClient, fromServer }) => [...fromClient, ...fromServer])
  }

  /** One connection, from its first byte to its last. */
  async once(): Promise<void> {
    const random = this.#random
    const session = random.pick(this.#sessions)
    const stream = mutate(session.fromClient, random, this.#others)
    this.connections += 1
    this.messages += stream.length
    const loggedIn = !session.login && random.chance(0.8)
    const connection = await this.#connect(loggedIn)
    if (connection === null) return
    const bytes = Buffer.concat(stream)
    const parts = random.chance(0.5) ? [bytes] : chunks(bytes, random).slice(0, 64)
    for (const part of parts) connection.send(part)
    if (random.chance(0.3)) connection.end()
    if (random.chance(0.8)) await rest(connection)
    if (random.chance(0.5)) connection.reset()
    await connection[Symbol.asyncDispose]()
  }

  async #connect(loggedIn: boolean): Promise<RawConnection | null> {
    if (!loggedIn) return RawConnection.dial(this.#prey.target)
    const { connection, greeting } = await RawConnection.open(this.#prey.target)
    if (greeting.at(-1)?.letter === 'Z') return connection
    await connection[Symbol.asyncDispose]()
    return null
  }
}

/** Reads until the end, or until nothing comes for a moment. */
async function rest(connection: RawConnection): Promise<void> {
  await connection.read(() => false, patienceMs)
}

/** A client that does nothing wrong. */
class Healthy implements AsyncDisposable {
  readonly #target: Target
  readonly #connection: RawConnection
  #queue: Promise<unknown> = Promise.resolve()
  answers = 0
  slowestMs = 0

  private constructor(target: Target, connection: RawConnection) {
    this.#target = target
    this.#connection = connection
  }

  static async open(target: Target): Promise<Healthy> {
    return new Healthy(target, (await RawConnection.open(target)).connection)
  }

  /** What is wrong, in words; null when the old connection and a new one are served. */
  check(): Promise<string | null> {
    const next = this.#queue.then(() => this.#check())
    this.#queue = next
    return next
  }

  async #check(): Promise<string | null> {
    const started = performance.now()
    const old = await answerOf(this.#connection)
    if (old !== healthyAnswer) return `the healthy client got ${old === '' ? 'nothing' : old}`
    const { connection, greeting } = await RawConnection.open(this.#target)
    await using fresh = connection
    if (greeting.at(-1)?.letter !== 'Z') return 'a new client was not let in'
    const answer = await answerOf(fresh)
    if (answer !== healthyAnswer) return `a new client got ${answer}`
    this.answers += 2
    this.slowestMs = Math.max(this.slowestMs, performance.now() - started)
    return null
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]()
  }
}

const healthyAnswer = 'TDCZ'

async function answerOf(connection: RawConnection): Promise<string> {
  connection.send(query('SELECT count(*) FROM wire_items'))
  const received = await connection.read((each) => each.at(-1)?.letter === 'Z', healthyMsMax)
  return received.map(({ letter }) => letter).join('')
}

/** Connections once the router has let go of those that ended. */
async function settled(port: number, wanted: number): Promise<number> {
  const deadline = performance.now() + settleMsMax
  while (socketsOf(port) > wanted && performance.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, settlePollMs))
  return socketsOf(port)
}

/** Connections that the router has with clients, those that they have left among them. */
function socketsOf(port: number): number {
  const hexPort = port.toString(16).toUpperCase().padStart(4, '0')
  const lines = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((path) => readFileSync(path, 'utf8').split('\n'))
  return lines.filter((line) => {
    const [, local = '', , state = ''] = line.trim().split(/\s+/)
    return local.endsWith(`:${hexPort}`) && heldStates.has(state)
  }).length
}

/** ESTABLISHED and CLOSE_WAIT: the process has not let go. */
const heldStates = new Set(['01', '08'])

function rssMb(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${String(pid)}/status`, 'utf8'))?.[1]) / 1024
}

function reportOf(parts: {
  readonly seed: number
  readonly started: number
  readonly attack: Attack
  readonly healthy: Healthy
  readonly before: number
  readonly after: number
  readonly growth: number
  readonly failures: readonly string[]
}): ListenerReport {
  const { seed, attack, healthy, before, after, failures } = parts
  const tenths = (value: number): number => Math.round(value * 10) / 10
  const seconds = tenths((performance.now() - parts.started) / 1000)
  const growth = tenths(parts.growth)
  return {
    target: 'listener',
    seed,
    connections: attack.connections,
    messages: attack.messages,
    seconds,
    healthy_answers: healthy.answers,
    healthy_slowest_ms: tenths(healthy.slowestMs),
    sockets_before: before,
    sockets_after: after,
    rss_growth_mb: growth,
    failures,
    holds: failures.length === 0,
    lines: [
      `${attack.messages.toLocaleString('en')} mutated messages over ${attack.connections.toLocaleString('en')} connections, seed ${String(seed)}, ${String(seconds)} s`,
      `a healthy client got ${String(healthy.answers)} answers, two in ${String(tenths(healthy.slowestMs))} ms at most`,
      `connections of clients: ${String(before)} before, ${String(after)} after; memory grew by ${String(growth)} MB`,
      ...(failures.length === 0 ? ['no failure'] : failures.map((failure) => `FAILED: ${failure}`)),
    ],
  }
}
