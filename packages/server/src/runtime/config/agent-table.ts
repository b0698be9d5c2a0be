// The settings of agents and of the Postgres servers that they run; a part of the table in table.ts.
import type { Setting } from './types.ts'

const second = 1000
const minute = 60 * second
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/
const HOST = /^[A-Za-z0-9_.:%-]{1,255}$/

/** Keyed like SETTINGS. */
export const AGENT_SETTINGS = {
  'agent.metrics-port': {
    type: 'port',
    default: 9093,
    doc: 'Port of the Prometheus metrics of the agent.',
    usedBy: ['up', 'agent'],
    aliases: { agent: ['metrics-port'] },
  },
  'agent.port': {
    type: 'port',
    default: 8082,
    doc: 'Port of the agent, which starts and stops database servers on this machine.',
    usedBy: ['up', 'agent'],
    aliases: { agent: ['port'] },
  },
  'agent.isolation-ms': {
    type: 'duration',
    default: 10 * second,
    min: 2 * second,
    max: 10 * minute,
    doc: 'How long a primary under `protection` runs on while it sees neither the catalog nor a replica.',
    usedBy: ['up', 'agent'],
  },
  'agent.id': {
    type: 'string',
    default: null,
    pattern: NAME,
    doc: 'Name of this agent in the catalog; the host name by default.',
    usedBy: ['agent'],
  },
  'agent.postgres-bind-host': {
    type: 'string',
    default: null,
    pattern: HOST,
    doc: 'Address that the Postgres servers of this agent listen on; 0.0.0.0 or :: for all. With `tls.cert`, `tls.key` and `tls.ca` they take connections under TLS only, and beyond loopback they need them. By default 127.0.0.1, without TLS. Taken over when a server starts.',
    usedBy: ['agent'],
    aliases: { agent: ['postgres-bind-host'] },
  },
  'agent.postgres-host': {
    type: 'string',
    default: null,
    pattern: HOST,
    doc: 'Host name or address by which routers, managers, workers and other agents reach the Postgres servers of this agent; `tls.cert` names it. By default what they listen on, or the host name where that is every address.',
    usedBy: ['agent'],
    aliases: { agent: ['postgres-host'] },
  },
  'agent.postgres-port': {
    type: 'port',
    default: 15_432,
    doc: 'First port of the Postgres servers of this agent; each new one gets the next free one, up to 32767.',
    usedBy: ['agent'],
    aliases: { agent: ['postgres-port'] },
  },
} as const satisfies Readonly<Record<string, Setting>>
