// Startup messages, files of users, and the settings of a session, without a server.
import { describe, expect, it } from 'vitest'
import { noSettings, SessionSettings } from '@fleetshard/routing/execute'
import { CancelKeys } from './cancel-keys.ts'
import { parseOptions, readStartup } from './startup-parameters.ts'
import { usersOfFile } from './users.ts'

const startup = (parameters: Readonly<Record<string, string>>, minor = 0) =>
  readStartup({ major: 3, minor, parameters: new Map(Object.entries(parameters)) })

describe('a startup message', () => {
  it('names the user, and the database after the user where it names none', () => {
    expect(startup({ user: 'me' })).toMatchObject({ user: 'me', database: 'me', negotiate: null })
    expect(startup({ user: 'me', database: '' }).database).toBe('me')
    expect(startup({ user: 'me', database: 'app' }).database).toBe('app')
    expect(() => startup({ database: 'app' })).toThrow(expect.objectContaining({ sqlstate: '28000' }))
  })

  it('is granted the newest version that is spoken', () => {
    expect(startup({ user: 'a' }, 2)).toMatchObject({ protocol: { minor: 2 }, negotiate: null })
    expect(startup({ user: 'a' }, 1)).toMatchObject({ protocol: { minor: 0 }, negotiate: {} })
    expect(startup({ user: 'a', '_pq_.x': '1' }, 9)).toMatchObject({
      protocol: { minor: 2 },
      negotiate: { unknownOptions: ['_pq_.x'] },
    })
  })

  it('brings settings, those of its options among them', () => {
    const { settings } = startup({ user: 'a', TimeZone: 'UTC', options: '-c a.b=1 --work-mem=2MB -cx=y\\ z' })
    expect([...settings]).toEqual([
      ['a.b', '1'],
      ['work_mem', '2MB'],
      ['x', 'y z'],
      ['timezone', 'UTC'],
    ])
    for (const options of ['fast', '-c', '-c x', '-d 5']) {
      expect(() => parseOptions(options)).toThrow(expect.objectContaining({ sqlstate: '42601' }))
    }
    expect(() => startup({ user: 'a', "x'; drop table t": '1' })).toThrow(
      expect.objectContaining({ sqlstate: '42602' }),
    )
  })
})

describe('a file of users', () => {
  const verifier = `SCRAM-SHA-256$4096:${'A'.repeat(24)}$${'B'.repeat(43)}=:${'C'.repeat(43)}=`

  it('has verifiers by name, and lets nobody else in', async () => {
    const users = usersOfFile(`# people\n"me" "${verifier}"\n\n"odd""name" "${verifier}"\n`, 'users.txt')
    const { signal } = new AbortController()
    expect((await users.demand('me', 'app', signal)).kind).toBe('scram')
    expect((await users.demand('odd"name', 'app', signal)).kind).toBe('scram')
    expect((await users.demand('you', 'app', signal)).kind).toBe('unknown')
  })

  it.each(['"me" "secret"', 'me secret', '"me"', '"me" "md5abc"'])(
    'refuses the line %s, without repeating it',
    (line) => {
      try {
        usersOfFile(`\n${line}`, 'users.txt')
        expect.unreachable()
      } catch (error) {
        expect(error).toMatchObject({
          code: 'invalid_config',
          message: expect.stringContaining('line 2') as string,
        })
        expect(String(error)).not.toContain('secret')
      }
    },
  )
})

describe('settings of a session', () => {
  it('are equal whatever order they were set in, and lead from one to the other', () => {
    const one = noSettings.with('a', 'set a = 1').with('role', 'set role x').with('b', 'set b = 2')
    const other = noSettings.with('b', 'set b = 2').with('a', 'set a = 1').with('role', 'set role x')
    expect(one.key).toBe(other.key)
    expect(one.changesFrom(other)).toBe('')
    expect(one.changesFrom(noSettings)).toBe('set a = 1;\nset b = 2;\nset role x')
    expect(noSettings.changesFrom(one)).toBe('reset role;\nreset all')
    expect(one.without('a').changesFrom(one)).toBe('reset role;\nreset all;\nset b = 2;\nset role x')
  })

  it('that would let a lane write or wait keep a session out of lanes', () => {
    expect(noSettings.mayShareLane).toBe(true)
    expect(new SessionSettings(new Map([['timezone', "set timezone = 'UTC'"]])).mayShareLane).toBe(true)
    for (const name of ['default_transaction_read_only', 'lock_timeout', 'session_authorization']) {
      expect(new SessionSettings(new Map([[name, `set ${name} = x`]])).mayShareLane).toBe(false)
    }
  })
})

describe('keys for cancelling', () => {
  it('reach their owner only, and nobody when they are wrong or gone', () => {
    const canceled: string[] = []
    let next = 0
    const keys = new CancelKeys((bytes) => Buffer.alloc(bytes, (next += 1)))
    const one = keys.give({ cancel: () => canceled.push('one') }, { minor: 0 })
    const other = keys.give({ cancel: () => canceled.push('other') }, { minor: 2 })
    expect([one.secretKey.length, other.secretKey.length]).toEqual([4, 32])
    keys.cancel(one.processId, other.secretKey)
    keys.cancel(one.processId, Buffer.alloc(4))
    keys.cancel(99, one.secretKey)
    expect(canceled).toEqual([])
    keys.cancel(other.processId, other.secretKey)
    expect(canceled).toEqual(['other'])
    keys.forget(one)
    keys.cancel(one.processId, one.secretKey)
    expect(canceled).toEqual(['other'])
  })
})
