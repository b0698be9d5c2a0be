// The ways to a cluster that writers take: HTTP, the Postgres wire, the direct client. Each tells what is known of a
// statement in the words of the ledger, and nothing better than it knows.
import { connect, isFleetShardError, type FleetShard } from '@fleetshard/client'
import { Client, DatabaseError } from 'pg'
import { send } from '../../e2e/harness/http.ts'
import { wasNotSent, type RouterMember } from '../kit/cluster.ts'
import type { Outcome } from '../ledger/ledger.ts'

/** One statement. */
export interface Statement {
  readonly text: string
  readonly params: readonly (string | number)[]
}

/** What became of it. `reason`: SQLSTATE or code, empty when it was acknowledged. */
export interface Answered {
  readonly outcome: Outcome
  readonly reason: string
  readonly rows: readonly Readonly<Record<string, unknown>>[]
}

/** A way to the cluster that one writer uses, one statement at a time. */
export interface Channel extends AsyncDisposable {
  readonly kind: ChannelKind
  execute(key: string, statement: Statement): Promise<Answered>
  /** All or none, on the shard of the key. */
  transaction(key: string, statements: readonly Statement[]): Promise<Answered>
}

/** The kinds of ways. */
export type ChannelKind = 'http' | 'wire' | 'direct'

/** Nothing in a scenario takes that long: who has no answer by then gets none. */
const answerMsMax = 60_000
/** A connection that is not wanted any more gets so long to say goodbye. */
const goodbyeMsMax = 1_000

/** Gives an answer up, so that one that never comes shows in the account instead of holding it up. */
async function bounded(answering: Promise<Answered>): Promise<Answered> {
  const late = Promise.withResolvers<Answered>()
  const timer = setTimeout(() => {
    late.resolve(told('unknown', 'no answer'))
  }, answerMsMax)
  try {
    return await Promise.race([answering, late.promise])
  } finally {
    clearTimeout(timer)
  }
}

const acknowledged = (rows: Answered['rows']): Answered => ({ outcome: 'acknowledged', reason: '', rows })
const told = (outcome: Outcome, reason: string): Answered => ({ outcome, reason, rows: [] })

/** Opens one. @param turn which router it begins with; where one fails it goes on with the next */
export async function openChannel(
  kind: ChannelKind,
  routers: readonly RouterMember[],
  turn: number,
): Promise<Channel> {
  const channel = await open(kind, routers, turn)
  return {
    kind,
    execute: (key, statement) => bounded(channel.execute(key, statement)),
    transaction: (key, statements) => bounded(channel.transaction(key, statements)),
    [Symbol.asyncDispose]: () => channel[Symbol.asyncDispose](),
  }
}

async function open(kind: ChannelKind, routers: readonly RouterMember[], turn: number): Promise<Channel> {
  if (kind === 'http') return httpChannel(routers, turn)
  if (kind === 'wire') return new WireChannel(routers, turn)
  const urls = routers.map(({ url }) => url)
  return directChannel(await connect({ urls, mode: 'direct', fallback: false }))
}

/** Ends a driver's connection, at whose other end there may be nobody. */
async function sayGoodbye(client: Client): Promise<void> {
  const ending = client.end().catch(() => undefined)
  await Promise.race([ending, new Promise((resolve) => setTimeout(resolve, goodbyeMsMax))])
}

function httpChannel(routers: readonly RouterMember[], turn: number): Channel {
  let next = turn
  const post = async (path: string, body: object): Promise<Answered> => {
    const router = routers[next % routers.length]
    try {
      const answer = await send<HttpAnswer>('POST', `${router?.url ?? ''}${path}`, body)
      if (answer.status === 200) return acknowledged(answer.body.rows ?? [])
      const { code, outcome } = answer.body
      if (outcome === 'committed') return acknowledged([])
      return told(outcome === 'aborted' ? 'refused' : 'unknown', code)
    } catch (error) {
      next += 1
      return wasNotSent(error) ? told('refused', 'unreachable') : told('unknown', 'connection lost')
    }
  }
  const bodyOf = ({ text, params }: Statement) => ({ query: text, params })
  return {
    kind: 'http',
    execute: (key, statement) => post('/v1/execute', { shard_key: key, ...bodyOf(statement) }),
    transaction: (key, statements) =>
      post('/v1/transaction', { shard_key: key, statements: statements.map(bodyOf) }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}

interface HttpAnswer {
  readonly rows?: Answered['rows']
  readonly outcome?: 'committed' | 'aborted' | 'unknown'
}

/** SQLSTATE of "it may have happened". */
const unknownState = '40003'
const connectMsMax = 5_000

/** A plain driver; the router plans by the statement alone. */
class WireChannel implements Channel {
  readonly kind = 'wire'
  readonly #routers: readonly RouterMember[]
  #turn: number
  #client: Client | null = null

  constructor(routers: readonly RouterMember[], turn: number) {
    this.#routers = routers
    this.#turn = turn
  }

  execute(_key: string, statement: Statement): Promise<Answered> {
    return this.#run(async (client) => query(client, statement))
  }

  transaction(_key: string, statements: readonly Statement[]): Promise<Answered> {
    return this.#run(async (client) => {
      await client.query('begin')
      for (const statement of statements) {
        const answer = await query(client, statement)
        if (answer.outcome === 'acknowledged') continue
        await client.query('rollback').catch(() => undefined)
        // Before COMMIT was sent nothing can have happened.
        return told('refused', answer.reason)
      }
      const answer = await query(client, { text: 'commit', params: [] })
      return answer.tag === 'ROLLBACK' ? told('refused', 'rolled back') : answer
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#client !== null) await sayGoodbye(this.#client)
  }

  async #run(work: (client: Client) => Promise<Answered>): Promise<Answered> {
    let client = this.#client
    if (client === null) {
      client = await this.#connect()
      if (client === null) return told('refused', 'unreachable')
      this.#client = client
    }
    try {
      return await work(client)
    } catch (error) {
      await this.#drop(client)
      // What was to begin a transaction failed: the rest was never sent.
      return told('refused', reasonOf(error))
    } finally {
      if (this.#client === client && hasEnded(client)) await this.#drop(client)
    }
  }

  async #connect(): Promise<Client | null> {
    const router = this.#routers[this.#turn % this.#routers.length]
    const client = new Client({
      host: '127.0.0.1',
      port: router?.wirePort,
      user: 'app',
      database: 'default',
      connectionTimeoutMillis: connectMsMax,
    })
    client.on('error', () => ended.add(client))
    client.on('end', () => ended.add(client))
    try {
      await client.connect()
      return client
    } catch {
      this.#turn += 1
      return null
    }
  }

  async #drop(client: Client): Promise<void> {
    this.#client = null
    this.#turn += 1
    await sayGoodbye(client)
  }
}

const ended = new WeakSet<Client>()
const hasEnded = (client: Client): boolean => ended.has(client)

/** @returns with the tag of the command */
async function query(client: Client, { text, params }: Statement): Promise<Answered & { tag: string }> {
  try {
    const result = await client.query<Record<string, unknown>>(text, [...params])
    return { ...acknowledged(result.rows), tag: result.command }
  } catch (error) {
    const isAnswer = error instanceof DatabaseError && error.code !== unknownState
    if (!(error instanceof DatabaseError)) ended.add(client)
    return { ...told(isAnswer ? 'refused' : 'unknown', reasonOf(error)), tag: '' }
  }
}

const reasonOf = (error: unknown): string =>
  error instanceof DatabaseError ? (error.code ?? 'no code') : 'connection lost'

function directChannel(db: FleetShard): Channel {
  const run = async (work: () => Promise<Answered['rows']>): Promise<Answered> => {
    try {
      return acknowledged(await work())
    } catch (error) {
      if (!isFleetShardError(error)) throw error
      if (error.outcome === 'committed') return acknowledged([])
      const reason = error.code === 'sql_error' ? `${error.code} ${error.sqlstate}` : error.code
      return told(error.outcome === 'aborted' ? 'refused' : 'unknown', reason)
    }
  }
  return {
    kind: 'direct',
    execute: (key, { text, params }) => run(async () => (await db.shard(key).query(text, params)).rows),
    transaction: (key, statements) =>
      run(() =>
        db.shard(key).transaction(async (tx) => {
          for (const { text, params } of statements) await tx.query(text, params)
          return []
        }),
      ),
    [Symbol.asyncDispose]: () => db.close(),
  }
}
