// Drivers of other languages: one program runs all cases and prints a line for each, `ok<TAB>name` or
// `failed<TAB>name<TAB>why`.
import assert from 'node:assert/strict'
import { caseNames, type CaseName, type Driver, type Place } from './case.ts'
import type { Printed } from './program.ts'

/** A driver whose program is run once a place. */
export function listedDriver(
  name: string,
  missing: string | null,
  run: (place: Place) => Promise<Printed>,
): Driver {
  const runs = new Map<string, Promise<Printed>>()
  const printed = (place: Place): Promise<Printed> => {
    const known = runs.get(place.url) ?? run(place)
    runs.set(place.url, known)
    return known
  }
  const check = (caseName: CaseName) => async (place: Place) => {
    const { out, err } = await printed(place)
    const line = out.split('\n').find((each) => each.split('\t')[1] === caseName)
    assert.equal(line, `ok\t${caseName}`, line ?? `the program said nothing of this case: ${err}`)
  }
  return { name, missing, cases: Object.fromEntries(caseNames.map((each) => [each, check(each)])) }
}
