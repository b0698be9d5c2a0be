// Words of the contract that flags take; their types are held to the contract's by use.

/** Hashes a keyspace may be created with. */
export const HASHES = ['murmur3', 'xxhash', 'postgres'] as const
/** How fresh reads are. */
export const CONSISTENCIES = ['strong', 'eventual'] as const
/** What a failover may cost. */
export const DURABILITIES = ['protection', 'availability', 'performance'] as const
/** States of a shard. */
export const SHARD_STATUSES = ['active', 'migrating', 'readonly', 'inactive'] as const
/** States that a request may set. */
export const SETTABLE_STATUSES = ['active', 'readonly', 'inactive'] as const
/** States of a job. */
export const JOB_STATUSES = ['pending', 'running', 'completed', 'failed', 'cancelled'] as const
