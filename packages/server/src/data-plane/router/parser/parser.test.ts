// The parser thread: hostile texts cost their sender an error, and nobody else anything.
import { afterAll, describe, expect, it } from 'vitest'
import { silentLogger, systemClock } from '../../../runtime/mod.ts'
import { parserLimitsDefault, StatementParser } from './parser.ts'

const parts = { log: silentLogger, clock: systemClock }

describe('the parser', () => {
  const parser = new StatementParser(parts)
  afterAll(() => parser[Symbol.asyncDispose]())

  const hostile: [string, string][] = [
    ['parentheses', `select ${'('.repeat(100_000)}1${')'.repeat(100_000)}`],
    ['a sum', `select ${'1+'.repeat(200_000)}1`],
    ['a chain of OR', `select 1 where ${'a = 1 or '.repeat(100_000)}true`],
    ['NOT', `select ${'not '.repeat(200_000)}true`],
    ['subqueries', `${'select * from ('.repeat(20_000)}select 1${') x'.repeat(20_000)}`],
    ['a long IN list', `select 1 from t where a in (${'1,'.repeat(300_000)}1)`],
    ['unions', `select 1${' union all select 1'.repeat(50_000)}`],
    ['casts', `select 1${'::int'.repeat(100_000)}`],
    ['an endless string', `select '${'x'.repeat(900_000)}`],
    [
      'WITH',
      `with ${Array.from({ length: 5_000 }, (_, i) => `a${String(i)} as (select 1)`).join(',')} select 1`,
    ],
  ]
  it.each(hostile)('survives %s', async (_name, text) => {
    const answers = await Promise.allSettled([
      parser.analyse(text),
      parser.analyse('select 2 from t where a = $1'),
    ])
    expect(answers[1]).toMatchObject({ status: 'fulfilled', value: { kind: 'statement' } })
    if (answers[0].status === 'fulfilled')
      expect(['statement', 'too-complex', 'syntax']).toContain(answers[0].value.kind)
    else expect(answers[0].reason).toMatchObject({ code: 'invalid_request' })
  })

  it('gives up the text that takes too long and goes on with those behind it', async () => {
    await using hasty = new StatementParser({
      ...parts,
      // The first deadline is over at once, the others never.
      clock: {
        ...systemClock,
        now: () => systemClock.now(),
        monotonic: () => systemClock.monotonic(),
        sleep: (ms, signal) => systemClock.sleep(ms, signal),
        after: (ms, action) =>
          systemClock.after(ms === 1 && !late.done ? ((late.done = true), 0) : 60_000, action),
      },
      limits: { ...parserLimitsDefault, timeoutMs: 1 },
    })
    const texts = ['select 1', 'select 2', 'select 3']
    const [first, ...others] = await Promise.allSettled(texts.map((text) => hasty.analyse(text)))
    expect(first).toMatchObject({ status: 'rejected', reason: { code: 'deadline_exceeded' } })
    for (const other of others) expect(other).toMatchObject({ value: { kind: 'statement' } })
  })

  it('refuses more than its bound, and everything once it is closed', async () => {
    const small = new StatementParser({ ...parts, limits: { ...parserLimitsDefault, pendingMax: 2 } })
    const taken = [small.analyse('select 1'), small.analyse('select 2')]
    await expect(small.analyse('select 3')).rejects.toMatchObject({ code: 'overloaded' })
    await Promise.all(taken)
    const left = small.analyse('select 4')
    const closed = small[Symbol.asyncDispose]()
    await expect(left).rejects.toMatchObject({ code: 'shutting_down' })
    await expect(small.analyse('select 5')).rejects.toMatchObject({ code: 'shutting_down' })
    await closed
  })
})

/** Whether the one deadline that is over at once has been given. */
const late = { done: false }
