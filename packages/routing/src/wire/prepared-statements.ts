// The prepared statements of one connection. Parse goes out at first use only and in the same group as the execution;
// the least recently used are closed beyond a bound; a statement that the server has lost, or whose result type has
// changed under it, is parsed anew once. Names are given here and never twice on a connection.
import type { FleetError } from '@fleetshard/core'
import {
  backendCode,
  decodeServerError,
  writeClose,
  writeDescribe,
  writeExecuteAndSync,
  writeParse,
  writeSync,
  writeUnnamedBind,
  type WireWriter,
} from '../pgwire/mod.ts'
import { sqlError } from './errors.ts'
import { PreparedGroup, type Prepared, type PreparedHost } from './prepared-group.ts'
import type {
  PreparedStatements,
  ServerConnection,
  StatementDescription,
  StatementRequest,
  StatementSink,
} from './types.ts'

/** Statements held by the server when nobody says otherwise. */
export const preparedMaxDefault = 200

const noTypes: readonly number[] = []

/** Prepared statements for a connection that nobody else prepares on. */
export function createPreparedStatements(
  connection: ServerConnection,
  options: { readonly max?: number } = {},
): PreparedStatements {
  return new StatementCache(connection, Math.max(1, options.max ?? preparedMaxDefault))
}

class StatementCache implements PreparedStatements, PreparedHost {
  readonly #connection: ServerConnection
  readonly #max: number
  readonly #statements = new Map<string, Prepared>()
  /** Counts uses; an order kept by the map itself would cost a new entry each. */
  #uses = 0
  /** Names to close with the next group. */
  #unwanted: string[] = []
  #namesGiven = 0

  constructor(connection: ServerConnection, max: number) {
    this.#connection = connection
    this.#max = max
  }

  get size(): number {
    return this.#statements.size
  }

  execute(request: StatementRequest, sink: StatementSink): void {
    this.send(new PreparedGroup(this, request, sink))
  }

  known(text: string, paramTypes: readonly number[] = noTypes): StatementDescription | null {
    return this.#statements.get(keyOf(text, paramTypes))?.description ?? null
  }

  async describe(text: string, paramTypes: readonly number[] = noTypes): Promise<StatementDescription> {
    const known = this.known(text, paramTypes)
    if (known !== null) return known
    const outcome = new DescriptionSink()
    const group = new PreparedGroup(this, { text, paramTypes, params: [] }, outcome, 'describe')
    this.send(group)
    await outcome.answered
    const description = group.statement?.description ?? null
    // Another group's Parse, on which this one relied, has failed: ask alone.
    return description ?? this.describe(text, paramTypes)
  }

  clear(): void {
    this.#statements.clear()
    this.#unwanted = []
  }

  renew(): void {
    for (const statement of this.#statements.values()) this.#unwanted.push(statement.name)
    this.#statements.clear()
  }

  send(group: PreparedGroup): void {
    const { text, paramTypes = noTypes, sentOnce } = group.request
    if (sentOnce !== undefined && !group.repeated) {
      this.#sendOnce(group, sentOnce, this.known(text, paramTypes)?.paramTypes ?? paramTypes)
      return
    }
    const key = keyOf(text, paramTypes)
    const held = this.#statements.get(key)
    // A repeated group with a text for once has shown that what was described does not fit any more.
    const isDoubtful = group.repeated && (sentOnce !== undefined || held?.description === null)
    const usable = held !== undefined && !isDoubtful
    const statement = usable ? held : this.#newStatement(key)
    const unwanted = this.#unwanted
    this.#connection.submitWith((out) => {
      for (const name of unwanted) writeClose(out, 'S', name)
      if (!usable) {
        writeParse(out, statement.name, text, paramTypes)
        writeDescribe(out, 'S', statement.name)
      }
      encodeUse(out, statement, group)
    }, group)
    // Nothing is recorded before it is sure that the group goes out.
    group.begin(statement, { closes: unwanted.length, parses: !usable })
    if (unwanted.length > 0) this.#unwanted = []
    if (!usable && held !== undefined) this.forget(held, true)
    this.#use(statement)
  }

  /** With the types that the caller has written its values by. */
  #sendOnce(group: PreparedGroup, text: string, paramTypes: readonly number[]): void {
    const statement: Prepared = { key: '', name: '', description: null, usedAt: 0 }
    this.#connection.submitWith((out) => {
      writeParse(out, '', text, paramTypes)
      writeDescribe(out, 'S', '')
      encodeUse(out, statement, group)
    }, group)
    group.begin(statement, { closes: 0, parses: true })
  }

  forget(statement: Prepared, close: boolean): void {
    if (this.#statements.get(statement.key) !== statement) return
    this.#statements.delete(statement.key)
    if (close) this.#unwanted.push(statement.name)
  }

  #newStatement(key: string): Prepared {
    this.#namesGiven += 1
    return { key, name: `fs_${String(this.#namesGiven)}`, description: null, usedAt: 0 }
  }

  /** Notes the use, and closes what is too many. */
  #use(statement: Prepared): void {
    statement.usedAt = this.#uses += 1
    if (this.#statements.get(statement.key) === statement) return
    this.#statements.set(statement.key, statement)
    if (this.#statements.size <= this.#max) return
    let least: Prepared | null = null
    for (const each of this.#statements.values()) {
      if (each.usedAt < (least?.usedAt ?? Infinity)) least = each
    }
    if (least !== null) this.forget(least, true)
  }
}

function encodeUse(out: WireWriter, statement: Prepared, group: PreparedGroup): void {
  if (group.purpose === 'describe') {
    writeSync(out)
    return
  }
  const { params, resultFormat } = group.request
  writeUnnamedBind(out, statement.name, params, resultFormat === 'binary' ? 1 : 0)
  writeExecuteAndSync(out)
}

function keyOf(text: string, paramTypes: readonly number[]): string {
  return paramTypes.length === 0 ? text : `${paramTypes.join(',')}\0${text}`
}

/** Waits for the end of a group that executes nothing. */
class DescriptionSink implements StatementSink {
  readonly #outcome = Promise.withResolvers<void>()
  #error: FleetError | null = null

  get answered(): Promise<void> {
    return this.#outcome.promise
  }

  fields(): void {
    // The description is kept with the statement.
  }

  message(type: number, buf: Buffer, start: number, end: number): void {
    if (type === backendCode.errorResponse) this.#error ??= sqlError(decodeServerError(buf, start, end))
  }

  done(): void {
    if (this.#error === null) this.#outcome.resolve()
    else this.#outcome.reject(this.#error)
  }

  failed(error: FleetError): void {
    this.#outcome.reject(error)
  }
}
