import { expect, test } from 'vitest'
import { giveBackStartupMemory } from './startup-memory.ts'

test('memory that nobody holds any more is given back at once, and no collector is left for others to call', () => {
  const used = (): number => process.memoryUsage().heapUsed
  let held: unknown = Array.from({ length: 200_000 }, (_, index) => ({ index }))
  const before = used()
  expect(held).toHaveLength(200_000)
  held = null
  giveBackStartupMemory()
  expect(used()).toBeLessThan(before - 1_000_000)
  expect(globalThis).not.toHaveProperty('gc')
})
