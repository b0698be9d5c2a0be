// The settings of logs, metrics and traces: a part of the configuration table.
import type { Setting } from './types.ts'

const second = 1000
const minute = 60 * second
const roles = ['up', 'router', 'manager', 'worker', 'agent'] as const

/** Keyed as in the table. */
export const OBSERVE_SETTINGS = {
  'log.level': {
    type: 'enum',
    choices: ['trace', 'debug', 'info', 'warn', 'error', 'silent'],
    default: 'info',
    doc: 'Least severe log lines that are written.',
    usedBy: roles,
  },
  'log.slow-statement-ms': {
    type: 'duration',
    default: 5 * second,
    min: 0,
    max: 60 * minute,
    doc: 'Statements that take so long or longer are logged by a router, without their values; 0: none.',
    usedBy: ['up', 'router'],
  },
  'metrics.enabled': {
    type: 'boolean',
    default: true,
    doc: 'Count what a process does, for Prometheus. Off: nothing is counted, and its metrics port answers only for health and the level of its log.',
    usedBy: roles,
  },
  'metrics.process': {
    type: 'boolean',
    default: true,
    doc: 'Expose the metrics of the process itself: memory, CPU, event loop, garbage collection.',
    usedBy: roles,
  },
  'trace.otlp-url': {
    type: 'url',
    schemes: ['http', 'https'],
    default: null,
    doc: 'Where spans of OpenTelemetry are sent, by OTLP over HTTP: http://localhost:4318. Nothing is traced without it.',
    usedBy: roles,
  },
  'trace.otlp-authorization': {
    type: 'secret',
    default: null,
    doc: 'Value of the header `authorization` with which they are sent.',
    usedBy: roles,
  },
  'trace.sample-percent': {
    type: 'int',
    default: 1,
    min: 0,
    max: 100,
    unit: 'percent',
    doc: 'Part of the traces begun here that is recorded; those that a client has begun go by its own choice.',
    usedBy: roles,
  },
} as const satisfies Readonly<Record<string, Setting>>
