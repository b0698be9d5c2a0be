// What a startup message says: user, database, settings of the session, and the version of the protocol.
import { FleetError } from '@fleetshard/core'

/** The claim of a client. Names of settings are in lower case. */
export interface StartupClaim {
  readonly user: string
  readonly database: string
  readonly settings: ReadonlyMap<string, string>
  /** Protocol 3.0 or 3.2, whatever was asked for. */
  readonly protocol: { readonly minor: 0 | 2 }
  /** Set when the client must be told that it gets less than it asked for. */
  readonly negotiate: { readonly unknownOptions: readonly string[] } | null
}

const namesMax = 63

/** @throws FleetError whose SQLSTATE is that of Postgres for the same mistake */
export function readStartup(request: {
  readonly major: number
  readonly minor: number
  readonly parameters: ReadonlyMap<string, string>
}): StartupClaim {
  const { major, minor, parameters } = request
  if (major !== 3) {
    throw new FleetError(
      'protocol_violation',
      `unsupported frontend protocol ${String(major)}.${String(minor)}: the router speaks 3.0 to 3.2`,
      { sqlstate: '0A000' },
    )
  }
  const user = parameters.get('user') ?? ''
  if (user === '') throw refused('28000', 'no user name is given in the startup message')
  refuseReplication(parameters.get('replication'))
  const unknownOptions = [...parameters.keys()].filter((name) => name.startsWith('_pq_.'))
  const granted = minor >= 2 ? 2 : 0
  return {
    user: user.slice(0, namesMax),
    database: (parameters.get('database') || user).slice(0, namesMax),
    settings: settingsOf(parameters),
    protocol: { minor: granted },
    negotiate: minor === granted && unknownOptions.length === 0 ? null : { unknownOptions },
  }
}

const notSettings = new Set(['user', 'database', 'options', 'replication'])

function settingsOf(parameters: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const settings = new Map(parseOptions(parameters.get('options') ?? ''))
  for (const [name, value] of parameters) {
    if (notSettings.has(name) || name.startsWith('_pq_.')) continue
    settings.set(settingName(name), value)
  }
  return settings
}

function settingName(name: string): string {
  if (/^[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)*$/.test(name)) return name.toLowerCase()
  throw refused('42602', `${JSON.stringify(name.slice(0, namesMax))} is not the name of a setting`)
}

function refuseReplication(value: string | undefined): void {
  if (value === undefined || /^(false|off|no|0)$/i.test(value)) return
  throw refused(
    '0A000',
    'the router does not speak the replication protocol',
    'connect to the server of the shard',
  )
}

/** `-c name=value`, `-cname=value` and `--name=value`, separated by blanks; a backslash takes the next character as it is. */
export function parseOptions(options: string): [string, string][] {
  const words = optionWords(options)
  const settings: [string, string][] = []
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? ''
    let assignment: string | undefined
    if (word === '-c') assignment = words[(index += 1)]
    else if (word.startsWith('-c')) assignment = word.slice(2)
    else if (word.startsWith('--')) assignment = word.slice(2)
    const equals = assignment?.indexOf('=') ?? -1
    if (assignment === undefined || equals < 1) {
      throw refused(
        '42601',
        `the option ${JSON.stringify(word.slice(0, namesMax))} is not understood`,
        'write -c name=value',
      )
    }
    settings.push([
      settingName(assignment.slice(0, equals).replaceAll('-', '_')),
      assignment.slice(equals + 1),
    ])
  }
  return settings
}

function optionWords(options: string): string[] {
  const words: string[] = []
  let word: string | null = null
  for (let index = 0; index < options.length; index += 1) {
    const character = options[index] ?? ''
    if (/\s/.test(character)) {
      if (word !== null) words.push(word)
      word = null
    } else if (character === '\\' && index + 1 < options.length) {
      index += 1
      word = (word ?? '') + (options[index] ?? '')
    } else word = (word ?? '') + character
  }
  return word === null ? words : [...words, word]
}

function refused(sqlstate: string, message: string, hint?: string): FleetError {
  return new FleetError('invalid_request', message, { sqlstate, ...(hint === undefined ? {} : { hint }) })
}
