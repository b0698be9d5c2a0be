// The protocol itself, without a driver: each script is run against Postgres, where it must get the answers it says.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connectionEnd, type Received } from '../wire/connection.ts'
import { wireCases } from '../wire/cases/mod.ts'
import { startDirect, type Direct } from '../wire/direct.ts'
import { runCase, surprises, type Answered } from '../wire/run.ts'
import { differences, loadAllowed } from './compare.ts'

const allowed = loadAllowed()
let direct: Direct
beforeAll(async () => {
  direct = await startDirect(null)
})
afterAll(async () => {
  await (direct as Direct | undefined)?.[Symbol.asyncDispose]()
})

for (const [chapter, cases] of Object.entries(wireCases)) {
  describe(`${chapter}, against Postgres`, () => {
    test.each(cases)('$name', async (wireCase) => {
      await direct.reset()
      const first = await runCase(direct.target, wireCase, direct)
      expect(surprises(first)).toEqual([])
      await direct.reset()
      const second = await runCase(direct.target, wireCase, direct)
      // What Postgres itself answers differently from time to time can't be asked of a router.
      expect(differences(wireCase.name, first, second, allowed)).toEqual([])
    })
  })
}

test('names of cases are unique, and exceptions name cases that there are', () => {
  const names = Object.values(wireCases).flatMap((cases) => cases.map(({ name }) => name))
  expect(new Set(names).size).toBe(names.length)
  expect(Object.keys(allowed.cases).filter((name) => !names.includes(name))).toEqual([])
})

describe('the comparison', () => {
  const message = (letter: string, body: string): Received => ({
    letter,
    bytes: Buffer.concat([Buffer.from(letter), Buffer.alloc(4), Buffer.from(body)]),
  })
  const answered = (...received: Received[]): Answered => ({
    greeting: [],
    answers: [{ step: 0, want: '', received }],
  })
  const compare = (one: Answered, other: Answered): readonly string[] =>
    differences('a case', one, other, allowed)

  test('sees a changed byte, a missing and an additional message', () => {
    const row = answered(message('D', 'abc'), message('Z', 'I'))
    expect(compare(row, row)).toEqual([])
    expect(compare(row, answered(message('D', 'abd'), message('Z', 'I')))).toHaveLength(3)
    expect(compare(row, answered(message('Z', 'I')))).toHaveLength(3)
    expect(compare(row, answered(message('D', 'abc'), message('Z', 'I'), message('Z', 'I')))).toHaveLength(3)
    expect(compare(row, answered({ letter: connectionEnd, bytes: Buffer.alloc(0) }))).toHaveLength(3)
  })

  test('lets an error’s origin differ only where the router names none', () => {
    const from = (routine: string): Answered =>
      answered(
        message('E', `SERROR\0VERROR\0C26000\0Mm\0${routine === '' ? '' : `Ff.c\0L1\0R${routine}\0`}\0`),
      )
    expect(compare(from('exec'), from(''))).toEqual([])
    expect(compare(from('exec'), from('other'))).toHaveLength(3)
  })
})
