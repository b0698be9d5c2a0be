import { ERRORS, FleetError, type ErrorCode } from '@fleetshard/core'
import { describe, expect, test } from 'vitest'
import { manualClock } from '../runtime/testing/manual-clock.ts'
import { EXIT, exitCodeOf } from './exit-codes.ts'
import type { RoleRunner } from './role-commands.ts'
import { call } from './testing/call.ts'
import { aKeyspace, aShard } from './testing/records.ts'

describe('exit codes', () => {
  const wanted: Readonly<Partial<Record<ErrorCode, number>>> = {
    invalid_usage: 2,
    invalid_config: 2,
    invalid_id: 2,
    not_found: 4,
    already_exists: 5,
    conflict: 5,
    version_mismatch: 5,
    deadline_exceeded: 6,
    shard_unavailable: 7,
    catalog_unavailable: 7,
    server_unreachable: 7,
    canceled: 130,
    sql_error: 1,
    internal: 1,
  }
  test.each(Object.entries(wanted))('%s ends with %i', (code, exit) => {
    expect(exitCodeOf(new FleetError(code as ErrorCode, 'x'))).toBe(exit)
  })

  test('no error ends as if it were none', () => {
    for (const code of Object.keys(ERRORS) as ErrorCode[]) {
      expect(exitCodeOf(new FleetError(code, 'x'))).not.toBe(EXIT.ok)
    }
  })

  test('401 and 403 are a matter of rights', () => {
    expect(exitCodeOf(new FleetError('internal', 'x', { status: 401 }))).toBe(3)
    expect(exitCodeOf(new FleetError('internal', 'x', { status: 403 }))).toBe(3)
  })
})

describe('wrong calls', () => {
  test.each([
    [['xyz', 'list'], "error: unknown command 'xyz'\nhint: fleetshard --help lists what there is\n"],
    [['shard', 'xyz'], "error: unknown command 'xyz'\nhint: fleetshard shard --help lists what there is\n"],
    [['stauts'], "error: unknown command 'stauts'\nhint: did you mean status?\n"],
    [['shard', 'lsit'], "error: unknown command 'lsit'\nhint: did you mean list?\n"],
    [['shard', 'list', '--stauts', 'x'], "error: unknown option '--stauts'\nhint: did you mean --status?\n"],
    [
      ['status', '--manager-ur', 'x'],
      "error: unknown option '--manager-ur'\nhint: did you mean --manager-url?\n",
    ],
    [
      ['shard', 'get'],
      "error: missing required argument 'id'\nhint: fleetshard shard get --help lists what there is\n",
    ],
    [
      ['wait'],
      "error: required option '--for <goal>' not specified\nhint: fleetshard wait --help lists what there is\n",
    ],
  ])('%j', async (words, err) => {
    expect(await call(words)).toMatchObject({ code: 2, out: '', err })
  })

  test('a wrong setting is an error of the configuration', async () => {
    const outcome = await call(['status', '--manager-url', 'ftp://x'])
    expect(outcome.code).toBe(2)
    expect(outcome.err).toMatch(/^error: --manager-url: .*\nhint: /)
  })

  test('a flag before the command that the command does not have is refused', async () => {
    const runners = { router: () => Promise.resolve(EXIT.ok) }
    const outcome = await call(['--keyspace', 'x', 'router'], { runners })
    expect(outcome).toMatchObject({
      code: 2,
      err: expect.stringContaining('router does not take --keyspace') as string,
    })
  })

  test('a group without a verb shows its verbs on standard error', async () => {
    const outcome = await call(['shard'])
    expect(outcome).toMatchObject({ code: 2, out: '' })
    expect(outcome.err).toContain('Usage: fleetshard shard')
    expect(outcome.err).toContain('error: a command is missing')
  })
})

describe('help', () => {
  test('comes without words, with help and with --help', async () => {
    for (const words of [[], ['help'], ['--help']]) {
      const { code, out, err } = await call(words)
      expect([words, code, err]).toEqual([words, 0, ''])
      expect(out).toContain('shard')
    }
  })

  test('of a command has its flags, settings and examples', async () => {
    const { out } = await call(['shard', 'create', '--help'])
    for (const part of ['--embedded', '--manager-url', 'FLEETSHARD_MANAGER_URL', 'Examples:'])
      expect(out).toContain(part)
  })

  test('prints the version', async () => {
    expect(await call(['--version'])).toMatchObject({ code: 0, out: '0.0.0-test\n' })
  })
})

describe('lists', () => {
  const answers = {
    'GET /api/v1/shards': () => ({
      shards: [aShard(), aShard({ id: 's-2', name: 'shard-02', status: 'inactive' })],
    }),
  }

  test('are tables for people', async () => {
    const { out, seen } = await call(['shard', 'list'], { answers })
    expect(out.split('\n')[0]).toMatch(/^ID +NAME +KEYSPACE +STATUS/)
    expect(out).toContain('s-1  shard-01  default   active')
    expect(out).toContain('50.0%')
    expect(seen[0]?.path).toBe('/api/v1/shards?keyspace=default')
  })

  test('are JSON, YAML or names for programs', async () => {
    const json = await call(['shard', 'list', '-o', 'json'], { answers })
    expect(JSON.parse(json.out)).toHaveLength(2)
    expect((await call(['shard', 'list', '-o', 'name'], { answers })).out).toBe('s-1\ns-2\n')
    expect((await call(['shard', 'list', '-o', 'yaml'], { answers })).out).toMatch(
      /^- id: s-1\n {2}name: shard-01\n/,
    )
  })

  test('take global flags before the command too', async () => {
    const { out } = await call(['-o', 'name', '--keyspace', 'app', 'shard', 'list'], { answers })
    expect(out).toBe('s-1\ns-2\n')
  })

  test('that are empty say so on standard error', async () => {
    const outcome = await call(['shard', 'list'], {
      answers: { 'GET /api/v1/shards': () => ({ shards: [] }) },
    })
    expect(outcome).toMatchObject({ code: 0, out: '', err: expect.stringContaining('no shards') as string })
  })

  test('take the keyspace and the manager from the environment', async () => {
    const env = { FLEETSHARD_KEYSPACE: 'app', FLEETSHARD_MANAGER_URL: 'http://m:1' }
    const { seen } = await call(['shard', 'list'], { answers, env })
    expect(seen[0]).toMatchObject({ host: 'm:1', path: '/api/v1/shards?keyspace=app' })
  })
})

describe('errors of the fleet', () => {
  test('are printed with their hint, and decide the exit code', async () => {
    const answer = () =>
      new FleetError('not_found', 'there is no shard "x"', { hint: 'fleetshard shard list' })
    const outcome = await call(['shard', 'get', 'x'], { answers: { 'GET /api/v1/shards/x': answer } })
    expect(outcome).toMatchObject({ code: 4, out: '' })
    expect(outcome.err).toBe('error: there is no shard "x"\nhint: fleetshard shard list\ntrace_id: trace-1\n')
  })

  test('an answer of something else is no answer', async () => {
    const page = () => new Response('<h1>404</h1>', { status: 404 })
    const outcome = await call(['shard', 'list'], { answers: { 'GET /api/v1/shards': page } })
    expect(outcome.code).toBe(7)
    expect(outcome.err).toContain('hint: check the URL')
  })

  test('a server that does not answer is unhealthy', async () => {
    const outcome = await call(['shard', 'list'])
    expect(outcome.code).toBe(7)
    expect(outcome.err).toContain('127.0.0.1:8081')
  })

  test('control characters in them are shown, not obeyed', async () => {
    const answer = () => new FleetError('not_found', 'no \u001b[2J')
    const outcome = await call(['shard', 'get', 'x'], { answers: { 'GET /api/v1/shards/x': answer } })
    expect(outcome.err).toContain('no \\x1b[2J')
  })
})

test('--watch prints again when something has changed, until Ctrl-C', async () => {
  const clock = manualClock()
  const stop = new AbortController()
  let looks = 0
  const answer = () => {
    looks += 1
    if (looks === 4) stop.abort(new FleetError('shutting_down', 'stopped'))
    return { keyspaces: [aKeyspace({ epoch: looks < 3 ? 1 : 2 })] }
  }
  const watching = call(['keyspace', 'list', '--watch'], {
    answers: { 'GET /api/v1/keyspaces': answer },
    clock,
    stop,
  })
  const pump = setInterval(() => clock.advance(2000), 1)
  const { code, out } = await watching.finally(() => clearInterval(pump))
  expect(code).toBe(130)
  expect(out.match(/NAME/g)).toHaveLength(2)
})

test('--watch ends when nobody reads any more', async () => {
  const clock = manualClock()
  let looks = 0
  const watching = call(['keyspace', 'list', '--watch'], {
    answers: { 'GET /api/v1/keyspaces': () => ({ keyspaces: [aKeyspace({ epoch: ++looks })] }) },
    clock,
    outError: () => (looks === 2 ? 'EPIPE' : null),
  })
  const pump = setInterval(() => clock.advance(2000), 1)
  const { code } = await watching.finally(() => clearInterval(pump))
  expect([code, looks]).toEqual([0, 2])
})

describe('config show', () => {
  test('prints the settings with their sources, without secrets', async () => {
    const env = { FLEETSHARD_CATALOG_PASSWORD: 'hunter2', FLEETSHARD_LOG_LEVEL: 'debug' }
    const { code, out } = await call(['config', 'show'], { env })
    expect(code).toBe(0)
    expect(out).toMatch(/^log\.level +debug +env FLEETSHARD_LOG_LEVEL$/m)
    expect(out).toMatch(/^router\.http-port +8080 +default$/m)
    expect(out).not.toContain('hunter2')
  })

  test('prints one setting, or those that were changed', async () => {
    const env = { FLEETSHARD_LOG_LEVEL: 'debug' }
    expect((await call(['config', 'show', '--changed', '-o', 'name'], { env })).out).toBe('log.level\n')
    expect((await call(['config', 'show', 'log.levl'], { env })).err).toContain('did you mean log.level?')
  })
})

describe('roles', () => {
  test('exist only when their function is given, and get their settings', async () => {
    expect((await call(['up'])).code).toBe(2)
    let shards = 0
    const up: RoleRunner = ({ config }) => {
      shards = config.get('up.shards')
      return Promise.resolve(EXIT.ok)
    }
    expect((await call(['up', '--shards', '4'], { runners: { up } })).code).toBe(0)
    expect(shards).toBe(4)
  })

  test('the long and the short flag must not disagree', async () => {
    const runners = { up: () => Promise.resolve(EXIT.ok) }
    const outcome = await call(['up', '--shards', '4', '--up-shards', '5'], { runners })
    expect(outcome).toMatchObject({ code: 2, err: expect.stringContaining('say different things') as string })
  })

  test('an unexpected error is internal, with its cause', async () => {
    const runners = { up: () => Promise.reject(new Error('boom')) }
    const outcome = await call(['up'], { runners })
    expect(outcome).toMatchObject({ code: 1, err: expect.stringContaining('cause: boom') as string })
  })
})
