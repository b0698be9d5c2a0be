// Primaries, replicas and links that fail while writers write: somebody leads soon, nobody beside it, and nothing that
// was acknowledged is lost. Invariants 1 (in `protection`) and 3 of the architecture.
import type { Scenario } from '../../scenario.ts'
import { linkScenarios } from './links.ts'
import { replicaScenarios } from './replicas.ts'
import { serverScenarios } from './servers.ts'

/** The family `availability`. */
export const availabilityScenarios: readonly Scenario[] = [
  ...serverScenarios,
  ...linkScenarios,
  ...replicaScenarios,
]
