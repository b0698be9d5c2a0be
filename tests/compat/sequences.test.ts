// Random sequences of protocol messages, sent to Postgres itself and through a router: the same bytes must come back, in
// every order of statements, portals, pipelines, errors and transactions. A failure tells its seed and what was sent.
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { targetOf, type Received, type Target } from '../wire/connection.ts'
import { openWorld, type Direct } from '../wire/direct.ts'
import { randomSteps, runRandom } from '../wire/lockstep.ts'
import { startNeighbours } from '../wire/neighbours.ts'
import { differences, loadAllowed } from './compare.ts'
import { startOneShard, type Placed } from './places.ts'

const runs = Number(process.env['SEQUENCE_RUNS'] ?? 200)
const firstSeed = Number(process.env['SEQUENCE_SEED'] ?? 1)
const stepsOfRun = 25
const allowed = loadAllowed()

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

function compare(want: readonly Received[], got: readonly Received[]): readonly string[] {
  const answered = (received: readonly Received[]): Parameters<typeof differences>[1] => ({
    greeting: [],
    answers: [{ step: 0, want: '', received }],
  })
  return differences('a random sequence', answered(want), answered(got), allowed)
}

/** Where the answers to one sequence part; empty where they do not. */
async function parted(seed: number): Promise<readonly string[]> {
  const steps = randomSteps(seed, stepsOfRun)
  await direct.reset()
  const want = await runRandom(direct.target, steps)
  await direct.reset()
  let found: readonly string[] = []
  await runRandom(router, steps, (received, index) => {
    found = compare(want[index] ?? [], received)
    if (found.length === 0) return true
    found = [...steps.slice(0, index + 1).flatMap(({ words }) => ['--', ...words]), ...found]
    return false
  })
  return found
}

describe.each(['alone', 'among neighbours'] as const)('random sequences through a router, %s', (where) => {
  let neighbours: AsyncDisposable | null = null
  beforeAll(async () => {
    if (where === 'among neighbours') neighbours = await startNeighbours(router, 2)
  })
  afterAll(async () => {
    await neighbours?.[Symbol.asyncDispose]()
  })

  const from = where === 'alone' ? firstSeed : firstSeed + runs
  test(
    `are answered as by Postgres, ${String(runs)} from seed ${String(from)}`,
    { timeout: 600_000 },
    async () => {
      for (let seed = from; seed < from + runs; seed += 1)
        expect(await parted(seed), `seed ${String(seed)}`).toEqual([])
      expect(where === 'alone' ? await direct.leftOver() : []).toEqual([])
    },
  )
})
