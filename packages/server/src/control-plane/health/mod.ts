// The health controller: who leads each shard, and what happens when that server is gone. SPEC.md has the machine.
export { createHealthController } from './controller.ts'
export * from './job.ts'
export * from './machine.ts'
export { limitsOf } from './limits.ts'
export { durabilityOf } from './quorum.ts'
export { rebuildJob, withStandby } from './rebuild.ts'
