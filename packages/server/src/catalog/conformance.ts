// The conformance suite of the store port: store.ts, sentence by sentence. Each backend's test runs it on a real
// store; a backend that passes is one that the typed catalog can stand on.
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { commitCases } from './conformance/commits.ts'
import type { Cases, StoreHarness } from './conformance/harness.ts'
import { leaseCases } from './conformance/leases.ts'
import { restartCases } from './conformance/restarts.ts'
import { watchCases } from './conformance/watches.ts'

export type { StoreHarness } from './conformance/harness.ts'

/**
 * Defines the tests.
 * @param start called once, before them; `hasServer` says whether what it gives can be killed
 */
export function testConformance(name: string, start: () => Promise<StoreHarness>, hasServer: boolean): void {
  defineSuite(name, start, {
    commits: commitCases,
    watches: watchCases,
    leases: leaseCases,
    ...(hasServer ? { restarts: restartCases } : {}),
  })
}

/**
 * Defines the tests of reading and watching, for a backend that refuses commits and leases. The harness's handles
 * commit all the same, by whatever way the backend's content changes.
 */
export function testReadConformance(name: string, start: () => Promise<StoreHarness>): void {
  defineSuite(name, start, { watches: watchCases })
}

function defineSuite(
  name: string,
  start: () => Promise<StoreHarness>,
  suites: Readonly<Record<string, Cases>>,
): void {
  describe(`${name} store`, () => {
    let harness: StoreHarness
    beforeAll(async () => {
      harness = await start()
    })
    afterAll(async () => {
      await harness[Symbol.asyncDispose]()
    })
    for (const [part, cases] of Object.entries(suites)) {
      describe(part, () => {
        for (const [title, check] of Object.entries(cases)) {
          it(title, async () => {
            await using store = harness.open()
            await check({ harness, store, prefix: `${randomUUID()}/` })
          })
        }
      })
    }
  })
}
