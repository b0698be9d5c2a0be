// The events that logs tell of under the key `event`: one word for one thing, so that a search finds all of a kind.

/** What each says; docs/reference/events.md is made from it. */
export const EVENT_DOCS = {
  change:
    'a change of the control plane was tried: `what`, `target`, `before`, `after`, `outcome`, `reason`, `traceId`',
  job_state: 'a job that moves rows or changes a schema went on to another `state`',
  shard_moved:
    'the keys of `sources` belong to `targets` from `epoch` on; statements were held for `hold_ms`',
  failover_state: 'a failover or switchover went on: `shard`, `state`, `step`',
  failover_ended: 'a failover or switchover has ended in `state`',
  shard_promoted: 'another server leads a shard: `shard`, `from`, `to`, `term`, `epoch`',
  primary_seen: 'a primary is seen differently: `before` and `kind` are healthy, suspect, isolated or down',
  slow_statement: 'a statement took `log.slow-statement-ms` or longer; `statement` has no values',
  log_level: 'the level of this log was changed while the process ran',
} as const satisfies Record<string, string>

type EventName = keyof typeof EVENT_DOCS

/** Each by its name. */
export const EVENTS = Object.fromEntries(Object.keys(EVENT_DOCS).map((name) => [name, name])) as {
  readonly [Name in EventName]: Name
}
