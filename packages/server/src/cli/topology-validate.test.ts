// `topology validate`: what is shown of a good file, and what is said about a bad one.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { call, type Outcome } from './testing/call.ts'

const node = (host: string): object => ({ host, user: 'app', password: 'hunter2', dbname: 'app' })
const file = {
  tables: [{ name: 'users', key_column: 'user_id', key_type: 'text' }],
  shards: [
    { shard_id: 0, primary: node('p0'), replicas: [node('r0')] },
    { shard_id: 1, primary: node('p1') },
    { shard_id: 2, primary: node('p2') },
  ],
}

describe('topology validate', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'fs-cli-'))
  })
  afterAll(() => {
    rmSync(folder, { recursive: true })
  })

  function validate(content: object | string, ...words: readonly string[]): Promise<Outcome> {
    writeFileSync(
      join(folder, 'topology.json'),
      typeof content === 'string' ? content : JSON.stringify(content, null, 2),
    )
    return call(['topology', 'validate', 'topology.json', ...words], { cwd: folder })
  }

  it('shows shards, hash, tables and where keys lie', async () => {
    const { code, out, err } = await validate(file)
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(out).toContain('keyspace default: fnv1a and modulo over 3 shards, strong reads by default')
    expect(out).toMatch(/0 +33\.3% +postgres:\/\/app@p0:5432\/app +postgres:\/\/app@r0:5432\/app/)
    expect(out).toMatch(/public\.users +sharded +user_id +text/)
    expect(out.split('\n').filter((line) => /^user-\d +\d+ +[012]$/.test(line))).toHaveLength(5)
    expect(out).not.toContain('hunter2')
  })

  it('gives programs the same as JSON, for keys of their own', async () => {
    // FNV-1a, 32 bits, of user-123, computed apart from this code.
    const { code, out } = await validate(file, '--key', 'user-123', '-o', 'json')
    const hash = 0x8c93cc93
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({
      valid: true,
      strategy: 'modulo',
      shards: [
        { shard_id: '0', replicas: ['postgres://app@r0:5432/app'] },
        { shard_id: '1' },
        { shard_id: '2' },
      ],
      samples: [{ key: 'user-123', hash: String(hash), shard_id: String(hash % 3) }],
    })
  })

  it('shows the parts of a ring', async () => {
    const { out } = await validate({ ...file, strategy: 'ring', tables: [] }, '-o', 'json')
    const { shards } = JSON.parse(out) as { shards: { owns: string }[] }
    for (const { owns } of shards) expect(Number.parseFloat(owns)).toBeCloseTo(33.3, 0)
  })

  it('reads keys by the type of the tables', async () => {
    const tables = [{ name: 't', key_column: 'id', key_type: 'int8' }]
    expect((await validate({ ...file, tables }, '--key', '042', '-o', 'json')).out).toContain('"samples"')
    expect(await validate({ ...file, tables }, '--key', 'x')).toMatchObject({ code: 1 })
  })

  it('tells every mistake with its place, and ends with 2', async () => {
    const bad = { ...file, shrads: 1, hash: 'murmur3' }
    const { code, out, err } = await validate(bad)
    expect({ code, out }).toEqual({ code: 2, out: '' })
    expect(err.split('\n').filter((line) => line.startsWith('error:'))).toEqual([
      expect.stringMatching(/^error: topology\.json:\d+:3: the file has the unknown field "shrads"$/),
      expect.stringMatching(
        /^error: topology\.json:\d+:\d+: strategy modulo has the hash fnv1a, not murmur3$/,
      ),
    ])
    expect(err).toContain('hint: did you mean shards?')
    const json = await validate(bad, '-o', 'json')
    expect(json.code).toBe(2)
    expect(JSON.parse(json.out)).toMatchObject({ valid: false, mistakes: [{ column: 3 }, {}] })
  })

  it('shows the example of the guide as the guide says', async () => {
    const guide = readFileSync(new URL('../../../../docs/guides/static-mode.md', import.meta.url), 'utf8')
    const [, example = ''] = /```json\n([\s\S]*?)```/.exec(guide) ?? []
    const [, shown = ''] = /```\n(keyspace default[\s\S]*?)```/.exec(guide) ?? []
    const { code, out } = await validate(example)
    expect(code).toBe(0)
    expect(out).toBe(shown)
  })

  it('reads standard input, and says when there is no file', async () => {
    const words = ['topology', 'validate']
    expect(await call([...words, '-'], { stdin: JSON.stringify(file) })).toMatchObject({ code: 0 })
    const none = await call([...words, 'none.json'], { cwd: folder })
    expect(none.code).toBe(2)
    expect(none.err).toContain('none.json cannot be read: ENOENT')
  })
})
