// Structured logs: JSON lines by pino on standard error, so that standard output stays free for data.
import { destination, pino, type Logger as PinoLogger } from 'pino'

/** First argument of whatever logs. Lowercase messages, constant keys, never a secret. */
export type Logger = PinoLogger
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** Keys that are blotted out wherever they appear, as a second line of defence. */
const redact = ['password', '*.password', 'token', '*.token', 'authorization', '*.authorization']

/** @param target file descriptor or file path; standard error by default */
export function createLogger(level: LogLevel, target: number | string = 2): Logger {
  return pino(
    {
      level,
      redact,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination({ dest: target, sync: true, mkdir: false }),
  )
}

/** For tests and short commands. */
export const silentLogger: Logger = pino({ level: 'silent' })
