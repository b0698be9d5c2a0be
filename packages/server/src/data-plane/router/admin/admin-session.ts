// The admin database `fleetshard`: SHOW of what the router knows of itself, in both protocols. It changes nothing and
// asks no server.
import { FleetError } from '@fleetshard/core'
import {
  backendCode,
  decodeFrontend,
  frontendCode,
  messageHeaderBytes,
  writeBackendKeyData,
  writeBare,
  writeCommandComplete,
  writeNoParameters,
  writeParameterStatus,
  writeReadyForQuery,
  writeTextColumns,
  writeTextRow,
} from '@fleetshard/routing/pgwire'
import { writeThrown } from '../listeners/pgwire/errors.ts'
import type { EnteredClient, WireClientSession } from '../listeners/pgwire/listener.ts'
import { ADMIN_TABLES, type AdminTable, type AdminView } from './tables.ts'

/** The database whose clients look at the router. */
export const adminDatabase = 'fleetshard'

/** What drivers want to know before they send anything. */
const parameters: readonly (readonly [string, string])[] = [
  ['server_version', '18.0'],
  ['server_encoding', 'UTF8'],
  ['client_encoding', 'UTF8'],
  ['DateStyle', 'ISO, MDY'],
  ['TimeZone', 'UTC'],
  ['integer_datetimes', 'on'],
  ['standard_conforming_strings', 'on'],
]

/** What a text asks for. */
type Asked =
  | { readonly kind: 'table'; readonly read: (view: AdminView) => AdminTable }
  /** SET and the like, which drivers send at the beginning. */
  | { readonly kind: 'setting'; readonly tag: string }
  | { readonly kind: 'nothing' }

/** @throws FleetError `invalid_request` with what may be asked */
function asked(text: string): Asked {
  const words = text.trim().replace(/;\s*$/, '').trim().toLowerCase().split(/\s+/)
  const [first = '', second = ''] = words
  if (first === '') return { kind: 'nothing' }
  if (first === 'set' || first === 'reset' || first === 'discard') {
    return { kind: 'setting', tag: first === 'discard' ? 'DISCARD ALL' : first.toUpperCase() }
  }
  const read = first === 'show' && words.length === 2 ? ADMIN_TABLES[second] : undefined
  if (read !== undefined) return { kind: 'table', read }
  throw new FleetError('invalid_request', 'the database fleetshard knows no such command', {
    sqlstate: '42601',
    hint: `SHOW ${Object.keys(ADMIN_TABLES).join(' | ').toUpperCase()}`,
  })
}

/** A session of the admin database. */
export class AdminSession implements WireClientSession {
  readonly #client: EnteredClient
  readonly #view: AdminView
  readonly #statements = new Map<string, Asked>()
  readonly #portals = new Map<string, Asked>()
  #isSkipping = false

  constructor(parts: { readonly client: EnteredClient; readonly view: AdminView }) {
    this.#client = parts.client
    this.#view = parts.view
  }

  start(): void {
    const { connection, key, claim } = this.#client
    const { writer } = connection.output
    for (const [name, value] of parameters) writeParameterStatus(writer, name, value)
    writeParameterStatus(writer, 'application_name', claim.settings.get('application_name') ?? '')
    writeBackendKeyData(writer, key.processId, key.secretKey)
    writeReadyForQuery(writer, 'I')
    connection.release()
  }

  message(type: number, buf: Buffer, start: number, end: number): void {
    const { connection } = this.#client
    try {
      this.#take(type, buf, start, end)
    } catch (error) {
      writeThrown(connection.output.writer, error)
      if (type === frontendCode.query) writeReadyForQuery(connection.output.writer, 'I')
      else this.#isSkipping = true
    }
  }

  acceptsPieces(): boolean {
    return false
  }

  piece(): void {
    // Nothing here is accepted in pieces.
  }

  cancel(): void {
    // Nothing here takes any time.
  }

  shutDown(error: FleetError): void {
    this.#end(error)
  }

  broken(error: FleetError): void {
    this.#end(error)
  }

  gone(): void {
    this.#statements.clear()
    this.#portals.clear()
  }

  #end(error: FleetError): void {
    const { connection } = this.#client
    if (!connection.isGone) writeThrown(connection.output.writer, error, 'FATAL')
    connection.end()
  }

  #take(type: number, buf: Buffer, start: number, end: number): void {
    const { connection } = this.#client
    const { writer } = connection.output
    switch (type) {
      case frontendCode.terminate:
        connection.end()
        return
      case frontendCode.sync:
        this.#isSkipping = false
        this.#portals.clear()
        writeReadyForQuery(writer, 'I')
        return
      case frontendCode.query:
        if (this.#isSkipping) return
        this.#answer(asked(buf.toString('utf8', start + messageHeaderBytes, end - 1)), true)
        writeReadyForQuery(writer, 'I')
        return
      case frontendCode.flush:
        connection.output.flush()
        return
      default:
        if (!this.#isSkipping) this.#extended(type, buf, start, end)
    }
  }

  #extended(type: number, buf: Buffer, start: number, end: number): void {
    const { writer } = this.#client.connection.output
    const message = decodeFrontend(type, buf, start, end)
    switch (message.kind) {
      case 'parse':
        this.#statements.set(message.name, asked(message.text))
        writeBare(writer, backendCode.parseComplete)
        return
      case 'bind':
        this.#portals.set(message.portal, known(this.#statements, message.statement))
        writeBare(writer, backendCode.bindComplete)
        return
      case 'describe':
        if (message.object === 'S') writeNoParameters(writer)
        this.#describe(known(message.object === 'S' ? this.#statements : this.#portals, message.name))
        return
      case 'execute':
        this.#answer(known(this.#portals, message.portal), false)
        return
      case 'close':
        ;(message.object === 'S' ? this.#statements : this.#portals).delete(message.name)
        writeBare(writer, backendCode.closeComplete)
        return
      default:
        throw new FleetError('statement_refused', 'the database fleetshard knows SHOW only')
    }
  }

  #describe(what: Asked): void {
    const { writer } = this.#client.connection.output
    if (what.kind === 'table') writeTextColumns(writer, what.read(this.#view).columns)
    else writeBare(writer, backendCode.noData)
  }

  #answer(what: Asked, describes: boolean): void {
    const { writer } = this.#client.connection.output
    if (what.kind === 'nothing') writeBare(writer, backendCode.emptyQueryResponse)
    else if (what.kind === 'setting') writeCommandComplete(writer, what.tag)
    else {
      const { columns, rows } = what.read(this.#view)
      if (describes) writeTextColumns(writer, columns)
      for (const row of rows) writeTextRow(writer, row)
      writeCommandComplete(writer, 'SHOW')
    }
  }
}

function known(names: ReadonlyMap<string, Asked>, name: string): Asked {
  const found = names.get(name)
  if (found !== undefined) return found
  throw new FleetError('invalid_request', `there is no statement or portal "${name}"`, { sqlstate: '26000' })
}
