import { FleetError } from '@fleetshard/core'
import { describe, expect, test } from 'vitest'
import { loadConfig, type ConfigInput, type GivenFlag } from './config.ts'
import { aliasesOf, envOf, flagOf, isConfigKey, keysFor, settingOf } from './names.ts'
import { parseValue, redactUrl } from './parse.ts'
import { CONFIG_KEYS, type ConfigKey } from './table.ts'
import { CONFIG_USERS } from './types.ts'

const cwd = '/home/me/app'

function load(input: Partial<ConfigInput> & { readonly file?: string } = {}) {
  return loadConfig({
    env: {},
    cwd,
    readFile: () => input.file ?? '{}',
    ...input,
  })
}

function flags(values: Readonly<Partial<Record<ConfigKey, string | boolean>>>): Map<ConfigKey, GivenFlag> {
  const given = new Map<ConfigKey, GivenFlag>()
  for (const [key, value] of Object.entries(values))
    if (isConfigKey(key)) given.set(key, { flag: flagOf(key), value })
  return given
}

function failure(run: () => unknown): FleetError {
  try {
    run()
  } catch (error) {
    if (error instanceof FleetError) return error
  }
  throw new Error('it did not fail as a FleetError')
}

describe('precedence', () => {
  const file = '{"router": {"http-port": 1003}}'
  const FLEETSHARD_CONFIG = '/etc/fs.json'
  const env = { FLEETSHARD_CONFIG, FLEETSHARD_ROUTER_HTTP_PORT: '1002' }

  test('a flag outranks everything', () => {
    const config = load({ env, file, flags: flags({ 'router.http-port': '1001' }) })
    expect(config.get('router.http-port')).toBe(1001)
    expect(config.source('router.http-port')).toEqual({ kind: 'flag', flag: '--router-http-port' })
    expect(config.flagGiven('router.http-port')).toBe('--router-http-port')
  })

  test('a variable outranks the file', () => {
    const config = load({ env, file })
    expect(config.get('router.http-port')).toBe(1002)
    expect(config.source('router.http-port')).toEqual({ kind: 'env', name: 'FLEETSHARD_ROUTER_HTTP_PORT' })
    expect(config.flagGiven('router.http-port')).toBeNull()
  })

  test('the file outranks the default', () => {
    const config = load({ env: { FLEETSHARD_CONFIG }, file })
    expect(config.get('router.http-port')).toBe(1003)
    expect(config.source('router.http-port')).toEqual({ kind: 'file', path: FLEETSHARD_CONFIG, line: 1 })
    expect(config.isGiven('router.http-port')).toBe(true)
  })

  test('the default comes last', () => {
    const config = load()
    expect(config.get('router.http-port')).toBe(8080)
    expect(config.source('router.http-port')).toEqual({ kind: 'default' })
    expect(config.isGiven('router.http-port')).toBe(false)
  })

  test.each([
    ['FLEETSHARD_DATADIR', 'did you mean FLEETSHARD_DATA_DIR?'],
    ['FLEETSHARD_ROUTR', 'names that begin with FLEETSHARD_ are settings; unset FLEETSHARD_ROUTR'],
  ])('a variable %s that is no setting is an error', (name, hint) => {
    expect(failure(() => load({ env: { [name]: 'x' } }))).toMatchObject({ code: 'invalid_config', hint })
  })

  test('an empty variable counts as none', () => {
    expect(load({ env: { FLEETSHARD_ROUTER_HTTP_PORT: '' } }).get('router.http-port')).toBe(8080)
  })

  test('a wrong value is an error also where it is outranked', () => {
    const input = { env: { FLEETSHARD_CONFIG }, file: '{"router.http-port": "x"}' }
    const error = failure(() => load({ ...input, flags: flags({ 'router.http-port': '1' }) }))
    expect(error.message).toContain('/etc/fs.json, line 1: router.http-port')
  })
})

describe('names that are no settings', () => {
  test('a misspelt variable is refused with the one that was meant', () => {
    const error = failure(() => load({ env: { FLEETSHARD_ROUTER_HTP_PORT: '1' } }))
    expect(error.code).toBe('invalid_config')
    expect(error.message).toContain('FLEETSHARD_ROUTER_HTP_PORT')
    expect(error.hint).toBe('did you mean FLEETSHARD_ROUTER_HTTP_PORT?')
  })

  test('a misspelt key of the file is refused with its line', () => {
    const file = '{\n  "log.level": "info",\n  "router": {\n    "http-prot": 1\n  }\n}'
    const error = failure(() => load({ env: { FLEETSHARD_CONFIG: '/c.json' }, file }))
    expect(error.message).toBe('/c.json, line 4: router.http-prot is not a setting of a file')
    expect(error.hint).toBe('did you mean router.http-port?')
  })

  test('a file does not name another file', () => {
    const file = '{"config": "other.json"}'
    expect(failure(() => load({ env: { FLEETSHARD_CONFIG: '/c.json' }, file })).code).toBe('invalid_config')
  })

  test('what Kubernetes sets for a service called fleetshard-router is let be', () => {
    const env = {
      FLEETSHARD_ROUTER_SERVICE_HOST: '10.0.0.1',
      FLEETSHARD_ROUTER_SERVICE_PORT: '8080',
      FLEETSHARD_ROUTER_SERVICE_PORT_HTTP: '8080',
      FLEETSHARD_ROUTER_PORT: 'tcp://10.0.0.1:8080',
      FLEETSHARD_ROUTER_PORT_8080_TCP: 'tcp://10.0.0.1:8080',
      FLEETSHARD_ROUTER_PORT_8080_TCP_ADDR: '10.0.0.1',
    }
    expect(load({ env }).get('router.http-port')).toBe(8080)
  })

  test('other variables are of no concern', () => {
    expect(
      load({ env: { PATH: '/bin', FLEET: 'x' } })
        .lines()
        .every(({ source }) => source === 'default'),
    ).toBe(true)
  })
})

describe('values', () => {
  const bad: readonly (readonly [ConfigKey, string])[] = [
    ['router.http-port', '65536'],
    ['router.http-port', '-1'],
    ['router.http-port', '80.5'],
    ['router.http-port', '0x50'],
    ['router.http-port', ''],
    ['up.shards', '65'],
    ['up.shards', 'two'],
    ['router.queue-wait-ms', '5 parsecs'],
    ['router.queue-wait-ms', '11h'],
    ['router.request-bytes-max', '10XB'],
    ['router.request-bytes-max', '1'],
    ['log.level', 'loud'],
    ['metrics.process', 'maybe'],
    ['catalog.url', 'mysql://host/db'],
    ['catalog.url', 'not a url'],
    ['region', 'a b'],
    ['data-dir', '\0'],
  ]
  test.each(bad)('%s refuses %j and names the flag', (key, value) => {
    const error = failure(() => load({ flags: flags({ [key]: value }) }))
    expect(error.code).toBe('invalid_config')
    expect(error.message.startsWith(`${flagOf(key)}: `)).toBe(true)
  })

  const good: readonly (readonly [ConfigKey, string | boolean, unknown])[] = [
    ['router.http-port', '0', 0],
    ['router.queue-wait-ms', '1500', 1500],
    ['router.queue-wait-ms', '1.5s', 1500],
    ['router.queue-wait-ms', '2m', 120_000],
    ['router.request-bytes-max', '64kB', 65_536],
    ['router.request-bytes-max', '10MB', 10_485_760],
    ['router.request-bytes-max', '2048', 2048],
    ['up.shards', '1_0', 10],
    ['metrics.process', true, true],
    ['metrics.process', 'off', false],
    ['log.level', 'debug', 'debug'],
    ['data-dir', 'state', '/home/me/app/state'],
    ['data-dir', '/abs/olute', '/abs/olute'],
    ['catalog.url', 'etcd://10.0.0.1:2379', 'etcd://10.0.0.1:2379'],
    ['catalog.url', 'etcd://a:1,b:2,c:3', 'etcd://a:1,b:2,c:3'],
  ]
  test.each(good)('%s reads %j as %j', (key, value, wanted) => {
    expect(load({ flags: flags({ [key]: value }) }).get(key)).toBe(wanted)
  })

  test('paths of the file are taken from where the file lies', () => {
    const config = load({ env: { FLEETSHARD_CONFIG: '/etc/fleet/c.json' }, file: '{"data-dir": "state"}' })
    expect(config.get('data-dir')).toBe('/etc/fleet/state')
  })

  test('null in the file leaves the default', () => {
    expect(
      load({ env: { FLEETSHARD_CONFIG: '/c.json' }, file: '{"log": {"level": null}}' }).get('log.level'),
    ).toBe('info')
  })
})

describe('secrets', () => {
  const env = {
    FLEETSHARD_CATALOG_PASSWORD: 'hunter2',
    FLEETSHARD_CATALOG_URL: 'postgres://me:hunter4@db/catalog?sslpassword=hunter5',
  }

  test('are readable for the program and not in what is printed', () => {
    const config = load({ env })
    expect(config.get('catalog.password')).toBe('hunter2')
    expect(config.get('catalog.url')).toContain('hunter4')
    expect(JSON.stringify(config.lines())).not.toContain('hunter')
  })

  test('are not in errors about them', () => {
    for (const value of ['postgres://me:hunter2@', 'mysql://me:hunter2@db/x', 'hunter2']) {
      const error = failure(() => load({ env: { FLEETSHARD_CATALOG_URL: value } }))
      expect(JSON.stringify([error.message, error.hint])).not.toContain('hunter')
    }
  })
})

test('settings can be replaced for a part, and keep where they came from', () => {
  const config = load({ flags: flags({ 'router.http-port': '7000' }) })
  const other = config.with({ 'router.http-port': 7001, 'catalog.url': 'etcd://h:1' })
  expect([other.get('router.http-port'), other.get('catalog.url'), other.get('manager.http-port')]).toEqual([
    7001,
    'etcd://h:1',
    8081,
  ])
  expect(other.flagGiven('router.http-port')).toBe('--router-http-port')
  expect(config.get('router.http-port')).toBe(7000)
})

test('an unreadable file is an error that names it', () => {
  const error = failure(() => loadConfig({ env: { FLEETSHARD_CONFIG: '/nonexistent/c.json' }, cwd }))
  expect(error.message).toBe('the configuration file /nonexistent/c.json cannot be read: ENOENT')
})

describe('the table', () => {
  test('gives every flag of a command to one setting', () => {
    for (const user of CONFIG_USERS) {
      const all = keysFor(user).flatMap((key) => [flagOf(key), ...aliasesOf(key, user)])
      expect(all.filter((flag, index) => all.indexOf(flag) !== index)).toEqual([])
    }
  })

  test('gives every variable to one setting', () => {
    const all = CONFIG_KEYS.map(envOf)
    expect(new Set(all).size).toBe(all.length)
  })

  test('has defaults that its own rules accept', () => {
    for (const key of CONFIG_KEYS) {
      const setting = settingOf(key)
      if (setting.default !== null)
        expect([key, parseValue(setting, setting.default, '/')]).toEqual([key, setting.default])
    }
  })

  test('writes each doc as a sentence', () => {
    for (const key of CONFIG_KEYS) expect([key, settingOf(key).doc.at(-1)]).toEqual([key, '.'])
  })

  test('has aliases only for commands that use the setting', () => {
    for (const key of CONFIG_KEYS) {
      const { aliases = {}, usedBy } = settingOf(key)
      for (const user of Object.keys(aliases)) expect(usedBy).toContain(user)
    }
  })
})

test.each([
  ['postgres://ann:secret@db/catalog', 'postgres://ann:***@db/catalog'],
  ['etcd://ann:secret@a:1,b:2', 'etcd://ann:***@a:1,b:2'],
  ['etcd://ann:se,cret@a:1,b:2', 'etcd://ann:***@a:1,b:2'],
  ['etcd://ann:se,cret@a:1', 'etcd://ann:***@a:1'],
  ['etcd://a:1,b:2', 'etcd://a:1,b:2'],
  ['no url: secret', '***'],
])('a URL is shown without its password: %s', (url, shown) => {
  expect(redactUrl(url)).toBe(shown)
})
