// The beginning of a session: its settings from the startup message, tried on a server as Postgres would, and what a
// client is told before its first query.
import type { Clock } from '@fleetshard/core'
import { SessionSettings } from '@fleetshard/routing/execute'
import { writeBackendKeyData, writeParameterStatus } from '@fleetshard/routing/pgwire'
import type { CancelKey } from '../listeners/pgwire/cancel-keys.ts'
import { connectFor } from './connect.ts'
import { tellCut } from './own-commands.ts'
import type { SessionState } from './session-state.ts'
import { isOwnVariable, noVariables, refuseSetting, setVariable, type Variables } from './variables.ts'

/** Settings that every connection has anyway, with the values that ask for no more than that. */
const asEverywhere: Readonly<Record<string, RegExp>> = {
  client_encoding: /./,
  datestyle: /^iso(, *mdy)?$/i,
  bytea_output: /^hex$/i,
  extra_float_digits: /^1$/,
  standard_conforming_strings: /^on$/i,
  default_transaction_isolation: /^read committed$/i,
}

/** What a startup message sets. @throws FleetError for a setting that is refused, or one of ours that does not exist */
export function settingsOfStartup(given: ReadonlyMap<string, string>): {
  readonly settings: SessionSettings
  readonly variables: Variables
  readonly name: string
} {
  const statements = new Map<string, string>()
  let variables = noVariables
  for (const [name, value] of given) {
    refuseSetting(name, value)
    if (isOwnVariable(name)) variables = setVariable(variables, name, value)
    else if (asEverywhere[name]?.test(value) !== true) {
      // As a list of names where the setting is one, which SET with a string would not do.
      statements.set(name, `select pg_catalog.set_config(${literal(name)}, ${literal(value)}, false)`)
    }
  }
  const name = given.get('application_name') ?? ''
  return { settings: new SessionSettings(statements), variables, name }
}

/** A string for standard_conforming_strings. */
const literal = (text: string): string => `'${text.replaceAll("'", "''").replaceAll('\0', '')}'`

/** How long what servers say of themselves is told to new clients. */
const keptMs = 10_000
const keptMax = 200

interface Kept {
  readonly parameters: ReadonlyMap<string, string>
  readonly atMs: number
}

/** What servers said to earlier sessions that began alike. */
export class Greetings {
  readonly #clock: Clock
  readonly #kept = new Map<string, Kept>()
  readonly #asking = new Map<string, Promise<ReadonlyMap<string, string>>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Asks once for all that begin alike at a time. */
  async parameters(
    key: string,
    ask: () => Promise<ReadonlyMap<string, string>>,
  ): Promise<ReadonlyMap<string, string>> {
    const kept = this.#kept.get(key)
    if (kept !== undefined && this.#clock.monotonic() - kept.atMs < keptMs) return kept.parameters
    const asking = this.#asking.get(key) ?? this.#ask(key, ask)
    return asking
  }

  async #ask(
    key: string,
    ask: () => Promise<ReadonlyMap<string, string>>,
  ): Promise<ReadonlyMap<string, string>> {
    const asking = ask()
    this.#asking.set(key, asking)
    try {
      const parameters = await asking
      if (this.#kept.size >= keptMax) this.#kept.clear()
      this.#kept.set(key, { parameters, atMs: this.#clock.monotonic() })
      return parameters
    } finally {
      this.#asking.delete(key)
    }
  }
}

/** Says all but ReadyForQuery. @throws FleetError of a setting that is wrong, or of a shard that cannot be reached */
export async function greet(state: SessionState, key: CancelKey): Promise<void> {
  const { start, environment, output } = state
  const alike = JSON.stringify([start.keyspace, start.login?.user ?? null, start.settings.key])
  const parameters = await environment.greetings.parameters(alike, () => ask(state))
  const { writer } = output
  tellCut(writer, start.name)
  for (const [name, value] of parameters) {
    if (name !== 'application_name') writeParameterStatus(writer, name, value)
  }
  writeParameterStatus(writer, 'application_name', state.variables.applicationName)
  writeBackendKeyData(writer, key.processId, key.secretKey)
}

async function ask(state: SessionState): Promise<ReadonlyMap<string, string>> {
  const held = await connectFor(state, { shard: null, map: state.map, isRepeatable: true, reads: null })
  const parameters = new Map(held.session.connection.parameters)
  state.release()
  return parameters
}
