import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FleetError } from '@fleetshard/core'
import { describe, expect, it } from 'vitest'
import { makeAdminToken, readAdminToken, writeClusterState, type ClusterState } from '../runtime/mod.ts'
import { call } from './testing/call.ts'

const tokenBody = {
  id: '0123456789abcdef',
  name: 'ci',
  scopes: ['operator'],
  created_by: 'admin',
  created_at: '2026-01-01T00:00:00Z',
  expires_at: null,
}

describe('token create', () => {
  it('prints the token alone, so that it can be kept in a file', async () => {
    const answers = { 'POST /api/v1/tokens': () => ({ ...tokenBody, token: 'fst_secret' }) }
    const words = [
      'token',
      'create',
      'ci',
      '-s',
      'operator',
      '-s',
      'read:app',
      '--expires-in',
      '1h',
      '--reason',
      'builds',
    ]
    const { code, out, err, seen } = await call(words, { answers })
    expect([code, out]).toEqual([0, 'fst_secret\n'])
    expect(err).not.toContain('fst_secret')
    expect(seen[0]?.body).toMatchObject({
      name: 'ci',
      scopes: ['operator', 'read:app'],
      expires_at: expect.any(String) as string,
    })
    expect(seen[0]?.headers.get('x-fleetshard-reason')).toBe('builds')
  })

  it('refuses what is no scope before it asks', async () => {
    const { code, err, seen } = await call(['token', 'create', 'ci', '--scope', 'root'])
    expect([code, seen.length]).toEqual([2, 0])
    expect(err).toContain('"root" is no scope')
  })
})

it('token list and revoke', async () => {
  const answers = {
    'GET /api/v1/tokens': () => ({ tokens: [tokenBody] }),
    'DELETE /api/v1/tokens/ci': () => undefined,
  }
  expect((await call(['token', 'list'], { answers })).out).toContain('never')
  expect(await call(['token', 'revoke', 'ci'], { answers })).toMatchObject({ code: 0 })
})

describe('audit', () => {
  const record = (seq: number): object => ({
    seq,
    at: '2026-01-01T00:00:00Z',
    phase: 'ended',
    change: 'c',
    who: { kind: 'token', subject: 'ci', role: 'operator' },
    from: '10.0.0.1',
    what: 'shard.create',
    target: 'default/a',
    reason: null,
    trace_id: 't',
    before: null,
    after: null,
    outcome: 'ok',
    prev: '',
    hash: `h${String(seq)}`,
  })

  it('export reads page by page, down to where it is told', async () => {
    const answers = {
      'GET /api/v1/audit': ({ path }: { path: string }) => {
        const before = Number(new URL(path, 'http://a').searchParams.get('before') ?? 2_501)
        const records = Array.from({ length: 1_000 }, (_, index) => before - 1 - index).filter(
          (seq) => seq > 0,
        )
        return { records: records.map(record) }
      },
    }
    const { out, code, seen } = await call(['audit', 'export'], { answers })
    expect([code, out.trim().split('\n').length, seen.length]).toEqual([0, 2_500, 3])
    const since = await call(['audit', 'export', '--since', '2400'], { answers })
    expect([since.out.trim().split('\n').length, since.seen.length]).toEqual([100, 1])
  })

  it('verify fails and names the record', async () => {
    const found = { records: 2, first: 1, last: 5, hash: 'h', fault: { seq: 3, what: 'it is missing' } }
    const { code, err } = await call(['audit', 'verify'], {
      answers: { 'GET /api/v1/audit/verification': () => found },
    })
    expect(code).toBe(1)
    expect(err).toContain('record 3 is not as it was written: it is missing')
  })

  it('list shows who, what and outcome', async () => {
    const { out } = await call(['audit', 'list'], {
      answers: { 'GET /api/v1/audit': () => ({ records: [record(1)] }) },
    })
    expect(out).toMatch(/token:ci .*10\.0\.0\.1 .*shard\.create .*default\/a .*ok/)
  })
})

describe('the token of a command', () => {
  const answers = {
    'GET /api/v1/shards': () => ({ shards: [] }),
    'GET /v1/shard-for-key': () => new FleetError('unauthenticated', 'no'),
  }

  it('is that of the variable, or of a file', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'fleetshard-cli-'))
    writeFileSync(join(folder, 'token'), 'from-file\n')
    const byFile = await call(['shard', 'list', '--token-file', join(folder, 'token')], { answers })
    expect(byFile.seen[0]?.headers.get('authorization')).toBe('Bearer from-file')
    const env = { FLEETSHARD_TOKEN: 'from-variable' }
    const byVariable = await call(['shard', 'list'], { answers, env })
    expect(byVariable.seen[0]?.headers.get('authorization')).toBe('Bearer from-variable')
    rmSync(folder, { recursive: true })
  })

  it('is never a flag: arguments can be read by every user of the machine', async () => {
    expect(await call(['shard', 'list', '--token', 'x'], { answers })).toMatchObject({ code: 2 })
  })

  it('is that of the local cluster, and goes to no other address', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'fleetshard-cli-'))
    makeAdminToken(dataDir)
    const state: ClusterState = {
      format: 1,
      pid: process.pid,
      startedAt: '',
      version: '0',
      dataDir,
      ports: {},
      urls: { router: 'http://127.0.0.1:1', manager: 'http://127.0.0.1:2' },
    }
    writeClusterState(state)
    const own = await call(['shard', 'list', '--data-dir', dataDir], { answers })
    expect(own.seen[0]?.headers.get('authorization')).toBe(`Bearer ${readAdminToken(dataDir)!}`)
    const named = ['shard', 'list', '--data-dir', dataDir, '--manager-url', 'http://elsewhere.test']
    expect((await call(named, { answers })).seen[0]?.headers.get('authorization')).toBeNull()
    rmSync(dataDir, { recursive: true })
  })

  it('that is refused ends the command with 3', async () => {
    expect(await call(['key', 'a'], { answers })).toMatchObject({ code: 3 })
  })
})
