// What a listener asks of the plan: commands, hints, parameters of the wire, explanations.
import { beforeAll, describe, expect, it } from 'vitest'
import { parseArrayText } from './array-text.ts'
import { StatementCache, type KnownStatement } from './cache.ts'
import { explainRoute, routeLines } from './explain.ts'
import { isHint, joinHints, noTarget, parseHint, sessionTarget, targetOf } from './hint.ts'
import { hintOf, lexQuery } from './lexer/lex.ts'
import { placeStatement } from './placement.ts'
import { analyseText, loadGrammar } from './postgres/analyse-text.ts'
import { slotKey } from './slot-key.ts'
import { testMap, testTable } from './testing.ts'
import { keyOfParameter, keysOfParameter, WireParameter } from './wire-parameter.ts'

beforeAll(loadGrammar)

function commandOf(text: string): unknown {
  const analysis = analyseText(text)
  return analysis.kind === 'statement' ? analysis.facts.command : analysis.kind
}

describe('the command of a statement', () => {
  const none = { isolation: null, readOnly: null, deferrable: null }
  it.each<[string, object]>([
    ['select 1', { kind: 'rows' }],
    ['begin', { kind: 'begin', starts: false, modes: none }],
    [
      'start transaction isolation level repeatable read, read only, not deferrable',
      {
        kind: 'begin',
        starts: true,
        modes: { isolation: 'repeatable read', readOnly: true, deferrable: false },
      },
    ],
    ['end and chain', { kind: 'commit', chain: true }],
    ['abort', { kind: 'rollback', chain: false }],
    ['savepoint "A"', { kind: 'savepoint', name: 'A' }],
    ['rollback to a', { kind: 'rollback-to', name: 'a' }],
    ['release a', { kind: 'release', name: 'a' }],
    ["prepare transaction 'g'", { kind: 'prepare-transaction', gid: 'g' }],
    [
      'set transaction read write',
      { kind: 'set-transaction', session: false, modes: { ...none, readOnly: false } },
    ],
    [
      'set session characteristics as transaction isolation level serializable',
      { kind: 'set-transaction', session: true, modes: { ...none, isolation: 'serializable' } },
    ],
    [
      "set Search_Path = a, 'b c'",
      { kind: 'set', name: 'search_path', values: ['a', 'b c'], local: false, fromCurrent: false },
    ],
    [
      'set local x.y to -1.5',
      { kind: 'set', name: 'x.y', values: ['-1.5'], local: true, fromCurrent: false },
    ],
    ['set jit to off', { kind: 'set', name: 'jit', values: ['off'], local: false, fromCurrent: false }],
    [
      'set work_mem to default',
      { kind: 'set', name: 'work_mem', values: null, local: false, fromCurrent: false },
    ],
    ['set role bob', { kind: 'set', name: 'role', values: ['bob'], local: false, fromCurrent: false }],
    ['reset session authorization', { kind: 'reset', name: 'session_authorization' }],
    ['reset all', { kind: 'reset', name: null }],
    ['show all', { kind: 'show', name: 'all' }],
    ['discard temp', { kind: 'discard', what: 'temp' }],
    ['listen "Ch"', { kind: 'listen', channel: 'Ch' }],
    ['unlisten *', { kind: 'unlisten', channel: null }],
    ["notify c, 'p'", { kind: 'notify', channel: 'c', payload: 'p' }],
    [
      'prepare p (int, text[]) as /* x */ select $1',
      { kind: 'prepare', name: 'p', types: ['pg_catalog.int4', 'text[]'], text: '/* x */ select $1' },
    ],
    ['deallocate all', { kind: 'deallocate', name: null }],
    [
      'declare c cursor with hold for select 1 for update',
      { kind: 'declare', name: 'c', hold: true, text: 'select 1 for update' },
    ],
    ['move 5 in c', { kind: 'move', name: 'c' }],
    ['close all', { kind: 'close', name: null }],
    [
      'copy s.t (a, b) from stdin (format csv, header)',
      {
        kind: 'copy',
        table: { schema: 's', name: 't' },
        columns: ['a', 'b'],
        direction: 'in',
        end: 'client',
        options: [
          { name: 'format', value: 'csv' },
          { name: 'header', value: null },
        ],
      },
    ],
    [
      "copy (select 1) to program 'cat'",
      { kind: 'copy', table: null, columns: null, direction: 'out', end: 'program', options: [] },
    ],
    [
      'lock table a, s.b',
      {
        kind: 'lock',
        tables: [
          { schema: null, name: 'a' },
          { schema: 's', name: 'b' },
        ],
      },
    ],
    ['call p()', { kind: 'call' }],
    ["do ''", { kind: 'do' }],
    [
      'explain (route) select 1',
      { kind: 'explain', options: [{ name: 'route', value: null }], route: true, text: 'select 1' },
    ],
    ['explain analyze verbose (select 1)', { kind: 'explain', route: false, text: '(select 1)' }],
    ['create temp table x (a int)', { kind: 'temporary' }],
    ['select 1 into temp y', { kind: 'temporary' }],
    ['create table pg_temp.x (a int)', { kind: 'temporary' }],
    ['create type pg_temp.r as range (subtype = text)', { kind: 'temporary' }],
    ["create function pg_temp.f() returns int language sql as 'select 1'", { kind: 'temporary' }],
    ['create type r as range (subtype = text)', { kind: 'ddl' }],
    ['create table x (a int)', { kind: 'ddl' }],
    ['vacuum', { kind: 'utility' }],
  ])('%s', (text, command) => {
    expect(commandOf(text)).toMatchObject(command)
  })

  it('has the values of an EXECUTE', () => {
    expect(commandOf("execute p ('a', -5, now())")).toMatchObject({
      kind: 'execute',
      name: 'p',
      values: [{ kind: 'literal', text: 'a', source: null }, { kind: 'literal', text: '-5' }, null],
    })
  })
})

describe('hints', () => {
  it('are read from the comments around a statement', () => {
    expect(hintOf("/* fleetshard: shard_key='it''s' */ select 1")).toEqual({ kind: 'key', key: "it's" })
    expect(hintOf("select 1 -- FleetShard: Shard = 'shard-01'")).toEqual({ kind: 'shard', shard: 'shard-01' })
    expect(hintOf("select 1; /* fleetshard: shard='s' */")).toEqual({ kind: 'shard', shard: 's' })
    expect(hintOf("select '/* fleetshard: shard=''s'' */'")).toEqual(noTarget)
    expect(lexQuery("select 1; /* fleetshard: shard='s' */ select 2").map(({ hint }) => hint.kind)).toEqual([
      'none',
      'shard',
    ])
  })

  it.each([
    '/* fleetshard: shard_key=user */ select 1',
    "/* fleetshard: shard_kye='a' */ select 1",
    "/* fleetshard: shard_key='' */ select 1",
    "/* fleetshard: shard_key='a' shard='b' */ select 1",
    "/* fleetshard: shard_key='a */ select 1",
    "/* fleetshard: shard_key='a' */ select 1 /* fleetshard: shard_key='b' */",
    "select /* fleetshard: shard_key='a' */ 1",
    "select 1; select 2; /* fleetshard: shard_key='a' */",
  ])('are refused when they are malformed: %s', (text) => {
    expect(() => lexQuery(text)).toThrow(expect.objectContaining({ code: 'invalid_request' }) as Error)
  })

  it('outrank the session, which has one target', () => {
    const session = sessionTarget({ shardKey: 'a', shard: null })
    expect(targetOf(noTarget, session)).toEqual({ kind: 'key', key: 'a' })
    expect(targetOf(parseHint("fleetshard: shard='s'"), session)).toEqual({ kind: 'shard', shard: 's' })
    expect(sessionTarget({ shardKey: '', shard: null })).toEqual(noTarget)
    expect(() => sessionTarget({ shardKey: 'a', shard: 's' })).toThrow('both set')
    expect(joinHints(session, session)).toBe(session)
    expect(isHint(' a comment about fleetshard: none')).toBe(false)
  })
})

describe('parameters of the wire', () => {
  const binary = (typeOid: number, hex: string) =>
    new WireParameter({ bytes: Buffer.from(hex, 'hex'), format: 'binary', typeOid })
  const text = (typeOid: number, value: string) =>
    new WireParameter({ bytes: Buffer.from(value), format: 'text', typeOid })

  it('are keys in text and in binary form', () => {
    expect(keyOfParameter(text(25, 'é'), 'text')).toBe('é')
    expect(keyOfParameter(text(0, ' 042 '), 'int8')).toBe('42')
    expect(keyOfParameter(binary(1043, 'c3a9'), 'text')).toBe('é')
    expect(keyOfParameter(binary(20, 'fffffffffffffffe'), 'int8')).toBe('-2')
    expect(keyOfParameter(binary(23, '0000002a'), 'int8')).toBe('42')
    expect(keyOfParameter(binary(21, 'ffff'), 'int4')).toBe('-1')
    expect(keyOfParameter(binary(2950, 'a0eebc999c0b4ef8bb6d6bb9bd380a11'), 'uuid')).toBe(
      'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
    )
    expect(keyOfParameter(binary(17, '00ff'), 'bytea')).toBe(String.raw`\x00ff`)
  })

  it.each([
    [binary(701, '4045000000000000'), 'int8'],
    [binary(20, '0000002a'), 'int8'],
    [binary(0, '61'), 'text'],
    [binary(20, '7fffffffffffffff'), 'int4'],
    [binary(25, 'ff'), 'text'],
    [text(1042, 'a '), 'text'],
    [text(20, '1'), 'text'],
    [new WireParameter({ bytes: null, format: 'text', typeOid: 25 }), 'text'],
  ] as const)('are refused when their type is not certain: %j', (parameter, type) => {
    expect(() => keyOfParameter(parameter, type)).toThrow(
      expect.objectContaining({ code: 'invalid_shard_key' }) as Error,
    )
  })

  it('are lists of keys', () => {
    const int8s =
      '00000001000000010000001400000002000000010000000800000000000000010000000 8ffffffffffffffff'.replaceAll(
        ' ',
        '',
      )
    expect(keysOfParameter(binary(1016, int8s), 'int8')).toEqual(['1', '-1'])
    expect(keysOfParameter(text(1009, '{a,"b c",NULL,"NULL"}'), 'text')).toEqual(['a', 'b c', 'NULL'])
    expect(() => keysOfParameter(binary(1016, int8s.slice(0, -2)), 'int8')).toThrow('malformed')
    expect(() => keysOfParameter(binary(1016, '00'), 'int8')).toThrow('malformed')
  })

  it.each([
    ['{}', []],
    [' { a , "b" ,c d } ', ['a', 'b', 'c d']],
    [String.raw`{"a\"b",\,x,"\\"}`, ['a"b', ',x', '\\']],
    ['{NULL,null,"null"}', [null, null, 'null']],
    ['{\u00a0a}', ['\u00a0a']],
  ])('are arrays as Postgres writes them: %s', (array, items) => {
    expect(parseArrayText(array)).toEqual(items)
  })

  it.each(['', 'a', '{', '{a', '{a,}', '{,a}', '{{a},{b}}', '[1:1]={a}', '{a}b', '{"a"b}', '{a"b"}'])(
    'are refused as arrays: %s',
    (array) => {
      expect(() => parseArrayText(array)).toThrow(
        expect.objectContaining({ code: 'invalid_shard_key' }) as Error,
      )
    },
  )
})

describe('a known statement', () => {
  const map = testMap(4, [
    testTable('public.users'),
    testTable('public.numbers', { keyColumn: 'id', keyType: 'int8' }),
  ])
  const cache = new StatementCache({
    analyse: (text) => Promise.resolve(analyseText(text)),
    bytesMax: 1_000_000,
  })
  const known = async (text: string): Promise<KnownStatement> => cache.get(text) ?? (await cache.load(text))

  it('is placed by the literals of each call', async () => {
    for (const [form, type] of [
      [(key: string) => `select * from users where user_id = '${key}' and n = 1`, 'text'],
      [(key: string) => `select * from numbers where id = ${key} -- ${key}`, 'int8'],
      [
        (key: string) =>
          `select * from numbers where id in (${key}, - ${key.replace('-', '')}) and id = ${key}`,
        'int8',
      ],
      [(key: string) => `select * from users where user_id = any('{${key}}')`, 'text'],
    ] as const) {
      const statements = ['1', '2', '3', '77', '0', '123456789012'].map((key) => ({
        key,
        lexed: lexQuery(form(key))[0]!,
      }))
      expect(new Set(statements.map(({ lexed }) => lexed.key)).size).toBe(1)
      for (const { key, lexed } of statements) {
        const one = cache.get(lexed.key) ?? (await cache.loadLexed(lexed))
        expect(placeStatement(one, map, { params: [], literals: lexed.literals })).toBe(
          map.shardFor(slotKey(key, type), type),
        )
      }
    }
  })

  it('keeps the sign of a number', async () => {
    for (const text of [
      'select * from numbers where id = -0',
      'select * from numbers where id = -5',
      'select * from numbers where id = - (7)',
    ]) {
      const lexed = lexQuery(text)[0]!
      const one = cache.get(lexed.key) ?? (await cache.loadLexed(lexed))
      const key = text.includes('7') ? '-7' : text.endsWith('0') ? '0' : '-5'
      expect(placeStatement(one, map, { params: [], literals: lexed.literals })).toBe(
        map.shardFor(slotKey(key, 'int8'), 'int8'),
      )
    }
  })

  it('is explained', async () => {
    const lines = async (text: string, params: unknown[] = []): Promise<string> =>
      routeLines(explainRoute(await known(text), map, { params })).join('\n')
    expect(await lines("explain (route) select * from users where user_id = 'a'")).toMatch(
      /^Route: single on s\d\n.*\n {2}Key: public.users.user_id = 'a'$/,
    )
    expect(await lines('select * from users where user_id = $1')).toContain('the shard is that of $1')
    expect(await lines('select * from users')).toMatch(
      /Route: unkeyed\n.*does not say which user_id[^]*To run on one shard: compare/,
    )
    expect(await lines('insert into users (name) values (1)')).toContain('Route: refused')
    expect(await lines('insert into users (user_id) values ($1)', [null])).toContain('NULL has no shard')
    expect(await lines('select 1')).toContain('Route: any on')
    expect(await lines('set x = 1')).toContain('Route: session')
    expect(await lines('select pg_advisory_lock(1)')).toMatch(
      /Route: single on s0\n.*meet by pg_advisory_lock\(\)/,
    )
    expect(await lines("select nextval('s')")).toMatch(/Route: single on s0\n/)
  })
})
