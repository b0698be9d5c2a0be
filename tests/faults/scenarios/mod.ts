// The families of scenarios by name: one line each.
import type { Scenario } from '../scenario.ts'
import { availabilityScenarios } from './availability/mod.ts'
import { calmScenarios } from './calm.ts'
import { reshardScenarios } from './reshard.ts'
import { soakScenarios } from './soak.ts'

/** What `npm run faults -- NAME` knows. */
export const FAMILIES: Readonly<Record<string, readonly Scenario[]>> = {
  availability: availabilityScenarios,
  calm: calmScenarios,
  reshard: reshardScenarios,
  soak: soakScenarios,
}
