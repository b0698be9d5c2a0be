// Topology files: what they mean, and what is said about those that are wrong.
import { describe, expect, it } from 'vitest'
import { parseEpoch } from '../ids.ts'
import { parseKey } from '../key/parse-key.ts'
import { buildShardMap } from '../map/shard-map.ts'
import { unpackTokens } from '../ring/tokens.ts'
import { parseTopologyFile, readTopologyFile, type Topology } from './read.ts'
import { fileNode, topologyFile } from './testing.ts'

const parse = (text: string): Topology => parseTopologyFile(text, { name: 'shards.json' })

/** `line:column message` of each mistake. */
function mistakesOf(file: object | string): string[] {
  const reading = readTopologyFile(typeof file === 'string' ? file : JSON.stringify(file, null, 1))
  if (reading.kind === 'read') return []
  return reading.mistakes.map(({ line, column, message }) => `${String(line)}:${String(column)} ${message}`)
}

const shard = (number: unknown, more: object = {}): object => ({
  shard_id: number,
  primary: fileNode(`p${String(number)}`),
  ...more,
})
const withNode = (more: Readonly<Record<string, unknown>>): object => ({
  shards: [{ shard_id: 0, primary: fileNode('p', more) }],
})
const withTable = (table: object): object => ({ tables: [table], shards: [shard(0)] })

/** FNV-1a, 32 bits, written anew. */
function fnv1a(text: string): number {
  let hash = 2_166_136_261
  for (const byte of new TextEncoder().encode(text))
    hash = Number((BigInt(hash ^ byte) * 16_777_619n) & 0xffff_ffffn) >>> 0
  return hash
}

describe('a topology file', () => {
  it('of the reference places keys by fnv1a % n, beyond ten shards too', () => {
    for (const count of [1, 3, 12]) {
      const { snapshot } = parse(topologyFile(count))
      const map = buildShardMap({ ...snapshot, shards: snapshot.shards.toReversed() })
      for (const key of ['user-123', 'a', 'ключ', '42', 'x'.repeat(300)]) {
        const { shard: owner } = map.locate(parseKey(key, 'text'), 'text')
        expect([key, owner.sequenceBlock, owner.id]).toEqual([
          key,
          fnv1a(key) % count,
          String(fnv1a(key) % count),
        ])
      }
    }
  })

  it('gives records that routers work with, without a password in them', () => {
    const { snapshot, passwords } = parse(
      JSON.stringify({
        keyspace: 'shop',
        default_consistency: 'eventual',
        tls: 'verify-full',
        tables: [
          { name: 'users', key_column: 'user_id', key_type: 'text' },
          { name: 'geo.countries', kind: 'reference' },
          { name: '"Settings"', kind: 'global', home_shard: 1 },
        ],
        shards: [
          {
            shard_id: 1,
            primary: { host: 'b', user: 'u', dbname: 'd', password_env: 'B_PASSWORD', tls: 'disable' },
          },
          {
            shard_id: 0,
            primary: { host: '/run/pg', user: 'u', dbname: 'd', port: 6000, password: 'hunter2' },
            replicas: [
              { host: 'r1', user: 'u', dbname: 'd', password_file: '/run/secrets/p' },
              { host: 'r2', user: 'u', dbname: 'd' },
            ],
          },
        ],
      }),
    )
    expect(snapshot.keyspace).toMatchObject({
      name: 'shop',
      hash: 'fnv1a',
      strategy: 'modulo',
      defaultConsistency: 'eventual',
    })
    expect(snapshot.epoch).toBe(1)
    expect(snapshot.shards.map(({ id, name, status }) => [id, name, status])).toEqual([
      ['0', 'shard-0', 'active'],
      ['1', 'shard-1', 'active'],
    ])
    const nodes = snapshot.shards.flatMap((each) => each.nodes)
    expect(nodes.map(({ id, role, host, port, tls }) => [id, role, host, port, tls])).toEqual([
      ['shard-0-primary', 'primary', '/run/pg', 6000, 'verify-full'],
      ['shard-0-replica-1', 'replica', 'r1', 5432, 'verify-full'],
      ['shard-0-replica-2', 'replica', 'r2', 5432, 'verify-full'],
      ['shard-1-primary', 'primary', 'b', 5432, 'disable'],
    ])
    const [written, ...others] = nodes.map(({ secretRef }) => secretRef)
    expect(others).toEqual(['file:/run/secrets/p', null, 'env:B_PASSWORD'])
    expect([...passwords]).toEqual([[written, 'hunter2']])
    expect(JSON.stringify(snapshot)).not.toContain('hunter2')
    expect(
      snapshot.tables.map(({ name, kind, keyType, homeShard }) => [name, kind, keyType, homeShard]),
    ).toEqual([
      ['public.users', 'sharded', 'text', null],
      ['geo.countries', 'reference', null, null],
      ['public."Settings"', 'global', null, '1'],
    ])
  })

  it('is the same snapshot each time, at the epoch asked for', () => {
    const text = topologyFile(4, { strategy: 'ring', hash: 'xxhash' })
    expect(parse(text)).toEqual(parse(text))
    expect(parseTopologyFile(text, { name: 'f', epoch: parseEpoch(7) }).snapshot.epoch).toBe(7)
  })

  it('has the right TLS where it says nothing', () => {
    const tlsOf = (host: string): string | undefined =>
      parse(JSON.stringify({ shards: [{ shard_id: 0, primary: fileNode(host) }] })).snapshot.shards[0]
        ?.nodes[0]?.tls
    expect(['127.0.0.1', '/run/pg', 'localhost', 'db.example.com'].map(tlsOf)).toEqual([
      'disable',
      'disable',
      'disable',
      'require',
    ])
  })

  // Rows lie where these tokens say: a change of them loses the rows of everybody who uses `ring` in a file.
  it('deals the same ring for ever', () => {
    const tokens = parse(topologyFile(3, { strategy: 'ring', vnodes: 4 })).snapshot.shards.map(({ vnodes }) =>
      unpackTokens(vnodes).map(String),
    )
    expect(tokens).toEqual([
      ['4611686018427387903', '9223372036854775807', '13835058055282163711', '18446744073709551615'],
      ['2306915457315518975', '6919178602392235007', '11525622479237911039', '16138919402474045439'],
      ['6147281519942567167', '8456366700607626239', '15375329340110538495', '17675652991703230975'],
    ])
    const map = buildShardMap(parse(topologyFile(8, { strategy: 'ring' })).snapshot)
    const places = Array.from(
      { length: 64 },
      (_, n) => map.shardFor(parseKey(`user-${String(n)}`, 'text'), 'text').id,
    )
    expect(places.join('')).toBe('7403060401125241650163414605433730100635743212573315054022265353')
  })

  it('moves keys to an added shard only, under ring', () => {
    const [three, four] = [3, 4].map((count) =>
      buildShardMap(parse(topologyFile(count, { strategy: 'ring' })).snapshot),
    )
    let moved = 0
    for (let n = 0; n < 1_000; n++) {
      const key = parseKey(`user-${String(n)}`, 'text')
      const [before, after] = [three!.shardFor(key, 'text').id, four!.shardFor(key, 'text').id]
      if (before === after) continue
      moved += 1
      expect(after).toBe('3')
    }
    expect(moved).toBeGreaterThan(180)
    expect(moved).toBeLessThan(320)
  })
})

describe('a mistake in a topology file', () => {
  it('is told with its line and column, in the order of the file', () => {
    expect(
      mistakesOf(`{
  "keyspce": "default",
  "shards": [
    { "shard_id": 0,
      "primary": { "host": "a", "port": 70000, "user": "u", "dbname": "d" } },
    { "shard_id": 0,
      "primary": { "host": "b", "user": "u" } }
  ]
}`),
    ).toEqual([
      '2:3 the file has the unknown field "keyspce"',
      '5:41 shards[0].primary.port must be a whole number from 1 to 65535, not 70000',
      '6:19 shard_id 0 is given to two shards',
      '7:18 shards[1].primary lacks the field "dbname"',
    ])
  })

  it('comes with a hint', () => {
    const reading = readTopologyFile('{"keyspce": "x", "shards": []}')
    expect(reading).toMatchObject({
      kind: 'refused',
      mistakes: [{ hint: 'did you mean keyspace?' }, { message: 'there is no shard' }],
    })
  })

  it('is one error for those who want one, with the number of the others', () => {
    expect(() => parse('{"a": 1, "b": 2, "shards": 3}')).toThrow(
      /^shards\.json, line 1, column 2: the file has the unknown field "a" \(and 2 more; fleetshard topology validate/,
    )
    expect(() => parse('nothing')).toThrow('shards.json, line 1, column 1: this is not JSON')
  })

  it.each<[string, object | string, string]>([
    [
      'a missing number',
      { shards: [shard(0), shard(2)] },
      'shard_id 2 is beyond the number of shards, and number 1 is missing',
    ],
    ['numbers from 1 on', { shards: [shard(1), shard(2)] }, 'number 0 is missing'],
    ['no shard', {}, 'lacks the field "shards"'],
    ['a shard without a primary', { shards: [{ shard_id: 0 }] }, 'shards[0] lacks the field "primary"'],
    ['a number as a text', { shards: [shard('0')] }, 'shard_id must be a whole number from 0'],
    ['a list as the file', '[]', 'the file must be an object { … }, not a list'],
    [
      'another hash under modulo',
      { hash: 'murmur3', shards: [shard(0)] },
      'modulo has the hash fnv1a, not murmur3',
    ],
    ['fnv1a on a ring', { strategy: 'ring', hash: 'fnv1a', shards: [shard(0)] }, 'needs a hash of 64 bits'],
    ['vnodes under modulo', { vnodes: 8, shards: [shard(0)] }, 'vnodes are for "strategy": "ring"'],
    [
      'an unknown strategy',
      { strategy: 'rnig', shards: [shard(0)] },
      'strategy must be one of modulo, ring, not "rnig"',
    ],
    [
      'an unknown consistency',
      { default_consistency: 'weak', shards: [shard(0)] },
      'one of strong, eventual',
    ],
    ['a bad keyspace', { keyspace: 'My App', shards: [shard(0)] }, 'not the name of a keyspace'],
    ['a bad host', withNode({ host: 'a:5432/x' }), 'shards[0].primary.host is not a host'],
    ['a long database', withNode({ dbname: 'd'.repeat(64) }), 'dbname is longer than 63 bytes'],
    ['two passwords', withNode({ password_env: 'X' }), 'says its password twice: password and password_env'],
    [
      'a relative file',
      withNode({ password: undefined, password_file: 'p' }),
      'password_file does not have the form',
    ],
    [
      'a catalog secret',
      withNode({ password: undefined, secret_ref: 'catalog:x' }),
      'secret_ref does not have the form',
    ],
    ['an unknown TLS mode', withNode({ tls: 'on' }), 'one of disable, require, verify-full'],
    ['no key type', withTable({ name: 't', key_column: 'k' }), 'tables[0] lacks the field "key_type"'],
    [
      'another key type',
      withTable({ name: 't', key_column: 'k', key_type: 'varchar' }),
      'key_type must be one of text',
    ],
    [
      'a key of a reference table',
      withTable({ name: 't', kind: 'reference', key_column: 'k' }),
      'has a key_column',
    ],
    [
      'a global table nowhere',
      withTable({ name: 't', kind: 'global', home_shard: 4 }),
      'which shard holds its rows',
    ],
    ['a table name in capitals', withTable({ name: 'Users', kind: 'reference' }), 'as Postgres prints it'],
  ])('such as %s is refused', (_what, file, message) => {
    expect(mistakesOf(file).join('\n')).toContain(message)
  })

  it('such as one database for two servers is found, however its host is written', () => {
    const twice = { shards: [shard(0), shard(1, { primary: fileNode('P0') })] }
    expect(mistakesOf(twice)).toEqual([
      expect.stringContaining('shards[1].primary is the same database as shards[0].primary'),
    ])
    const local = [fileNode('localhost'), fileNode('127.0.0.1')]
    expect(mistakesOf({ shards: [shard(0, { replicas: local })] })).toHaveLength(1)
    expect(
      mistakesOf({ shards: [shard(0), shard(1, { primary: fileNode('p0', { dbname: 'b' }) })] }),
    ).toEqual([])
  })

  it('never shows a password', () => {
    for (const file of [
      withNode({ password: ['hunter2'] }),
      withNode({ password: 'hunter2\nhunter2' }),
      withNode({ password: '', user: 5 }),
      '{"shards": [{"shard_id": 0, "primary": {"password": "hunter2',
      '{"shards": [{"shard_id": 0, "primary": {"password": "hunter2"x"',
      withNode({ password: undefined, secret_ref: 'hunter2' }),
      withNode({ password: undefined, password_file: 'hunter2' }),
    ]) {
      const reading = readTopologyFile(typeof file === 'string' ? file : JSON.stringify(file))
      expect(reading.kind).toBe('refused')
      expect(JSON.stringify(reading)).not.toContain('hunter2')
    }
  })
})
