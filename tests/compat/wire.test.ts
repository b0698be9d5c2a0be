// The protocol itself, without a driver: each script is run against Postgres, where it must get the answers it says,
// and through a router, where it must get the same bytes, whoever else uses the router's connections.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connectionEnd, targetOf, type Received, type Target } from '../wire/connection.ts'
import { wireCases } from '../wire/cases/mod.ts'
import { openWorld, type Direct } from '../wire/direct.ts'
import { startNeighbours } from '../wire/neighbours.ts'
import { runCase, surprises, type Answered } from '../wire/run.ts'
import type { WireCase } from '../wire/script.ts'
import { differences, loadAllowed } from './compare.ts'
import { startOneShard, type Placed } from './places.ts'

const allowed = loadAllowed()
const routed = ['alone', 'among neighbours'] as const

let placed: Placed
let direct: Direct
let router: Target
beforeAll(async () => {
  placed = await startOneShard()
  direct = await openWorld(placed.directUrl)
  router = targetOf(placed.routerUrl)
})
afterAll(async () => {
  await (direct as Direct | undefined)?.[Symbol.asyncDispose]()
  await (placed as Placed | undefined)?.[Symbol.asyncDispose]()
})

async function answersOf(target: Target, wireCase: WireCase): Promise<Answered> {
  await direct.reset()
  return runCase(target, wireCase, direct)
}

for (const [chapter, cases] of Object.entries(wireCases)) {
  describe(`${chapter}, against Postgres`, () => {
    test.each(cases)('$name', async (wireCase) => {
      const first = await answersOf(direct.target, wireCase)
      expect(surprises(first)).toEqual([])
      // What Postgres itself answers differently from time to time can't be asked of a router.
      const exact = { ...allowed, cases: {} }
      const second = await answersOf(direct.target, wireCase)
      expect(differences(wireCase.name, first, second, exact)).toEqual([])
    })
  })
}

describe.each(routed)('through a router, %s', (where) => {
  let neighbours: AsyncDisposable | null = null
  beforeAll(async () => {
    if (where === 'among neighbours') neighbours = await startNeighbours(router)
  })
  afterAll(async () => {
    await neighbours?.[Symbol.asyncDispose]()
  })

  for (const [chapter, cases] of Object.entries(wireCases)) {
    for (const wireCase of cases) {
      // A defect that is mended must leave the list: the test fails then.
      const check = wireCase.name in allowed.defects ? test.fails : test
      check(`${chapter}: ${wireCase.name}`, async () => {
        const want = await answersOf(direct.target, wireCase)
        const got = await answersOf(router, wireCase)
        // Neighbours are never idle for long.
        const left = where === 'alone' ? await direct.leftOver() : []
        expect(differences(wireCase.name, want, got, allowed)).toEqual([])
        expect(left).toEqual([])
      })
    }
  }
})

test('names of cases are unique, and exceptions name cases that there are', () => {
  const names = Object.values(wireCases).flatMap((cases) => cases.map(({ name }) => name))
  expect(new Set(names).size).toBe(names.length)
  const excepted = [...Object.keys(allowed.cases), ...Object.keys(allowed.defects)]
  expect(excepted.filter((name) => !names.includes(name))).toEqual([])
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
