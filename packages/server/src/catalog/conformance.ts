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
  describe(`${name} store`, () => {
    let harness: StoreHarness
    beforeAll(async () => {
      harness = await start()
    })
    afterAll(async () => {
      await harness[Symbol.asyncDispose]()
    })
    const run = (cases: Cases): void => {
      for (const [title, check] of Object.entries(cases)) {
        it(title, async () => {
          await using store = harness.open()
          await check({ harness, store, prefix: `${randomUUID()}/` })
        })
      }
    }
    describe('commits', () => {
      run(commitCases)
    })
    describe('watches', () => {
      run(watchCases)
    })
    describe('leases', () => {
      run(leaseCases)
    })
    if (hasServer) {
      describe('restarts', () => {
        run(restartCases)
      })
    }
  })
}
