// Structured logs: JSON lines by pino on standard error, so that standard output stays free for data. The level can be
// changed while the process runs, for all loggers that were made of the first.
import { destination, pino, type Logger as PinoLogger } from 'pino'
import { loggedError } from './redact.ts'

/** First argument of whatever logs. Lowercase messages, constant keys, never a secret. */
export type Logger = PinoLogger

/** From the most to the least that is written. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const
/** One of them. */
export type LogLevel = (typeof LOG_LEVELS)[number]

/** Keys that are blotted out wherever they appear, as a second line of defence. */
const SECRET_KEYS = [
  'password',
  'token',
  'authorization',
  'secret',
  'cookie',
  'privateKey',
  'connectionString',
]
const redact = SECRET_KEYS.flatMap((key) => [key, `*.${key}`, `*.*.${key}`])

/** A logger, and what it writes. */
export interface Logging {
  readonly log: Logger
  level(): LogLevel
  setLevel(level: LogLevel): void
}

/** Of so many children those are looked for that nobody has any more. */
const childrenSwept = 1_024

/** @param target file descriptor or file path; standard error by default */
export function createLogging(level: LogLevel, target: number | string = 2): Logging {
  // A child has a level of its own from the moment it is made; weakly held, since many live for one request only.
  let children: WeakRef<PinoLogger>[] = []
  let sweepAt = childrenSwept
  const log: Logger = pino(
    {
      level,
      redact,
      serializers: { err: (error: unknown) => loggedError(error) },
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      onChild(child) {
        children.push(new WeakRef(child as PinoLogger))
        if (children.length < sweepAt) return
        children = children.filter((one) => one.deref() !== undefined)
        sweepAt = children.length + childrenSwept
      },
    },
    destination({ dest: target, sync: true, mkdir: false }),
  )
  let current = level
  return {
    log,
    level: () => current,
    setLevel(next) {
      current = next
      log.level = next
      for (const child of children) {
        const logger = child.deref()
        if (logger !== undefined) logger.level = next
      }
    },
  }
}

/** For tests and short commands. */
export const silentLogger: Logger = pino({ level: 'silent' })
