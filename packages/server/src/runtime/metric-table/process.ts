// The metrics that every process has.
import { named } from './model.ts'

const roles = ['router', 'manager', 'worker', 'agent'] as const

/** Only with `metrics.process`; one role of `up` tells them for all. */
export const PROCESS_METRICS = named({
  process_cpu_seconds_total: {
    type: 'counter',
    unit: 'seconds',
    help: 'Processor time used, by kind: user, system',
    labels: ['kind'],
    roles,
  },
  process_resident_memory_bytes: { type: 'gauge', unit: 'bytes', help: 'Memory of the process', roles },
  process_heap_bytes: {
    type: 'gauge',
    unit: 'bytes',
    help: 'Memory of the JavaScript engine by kind: used, reserved, external (buffers)',
    labels: ['kind'],
    roles,
  },
  process_start_time_seconds: {
    type: 'gauge',
    unit: 'seconds',
    help: 'When the process was started, in seconds since 1970',
    roles,
  },
  event_loop_delay_seconds: {
    type: 'gauge',
    unit: 'seconds',
    help: 'How late timers were since the last scrape: mean, p99, max',
    labels: ['statistic'],
    roles,
  },
  event_loop_busy_ratio: {
    type: 'gauge',
    unit: 'ratio',
    help: 'Part of the time since the last scrape in which the event loop worked: 1 is a full core',
    roles,
  },
  gc_duration_seconds: {
    type: 'histogram',
    unit: 'seconds',
    help: 'Pauses for garbage collection by kind: minor, major, incremental, weakcb',
    labels: ['kind'],
    buckets: [0.000_1, 0.001, 0.01, 0.1, 1],
    roles,
  },
})

/** Always there. */
export const COMMON_METRICS = named({
  build_info: {
    type: 'gauge',
    unit: 'state',
    help: '1; the labels say what runs',
    labels: ['role', 'version'],
    roles,
  },
  tls_certificate_expiry_seconds: {
    type: 'gauge',
    unit: 'seconds',
    help: 'When the certificate of the process ends, in seconds since 1970; only with tls.cert',
    roles,
  },
})
