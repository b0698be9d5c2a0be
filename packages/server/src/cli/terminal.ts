// The three standard streams as the commands see them; tests hand in one of their own.
import { FleetError } from '@fleetshard/core'
import { createInterface } from 'node:readline/promises'
import type { Readable } from 'node:stream'

/** Largest text read from standard input. */
export const stdinBytesMax = 16 * 1024 * 1024

/** Where a command reads and writes. Data goes to `out`, all else to `err`. */
export interface Terminal {
  readonly out: (text: string) => void
  readonly err: (text: string) => void
  readonly outIsTerminal: boolean
  readonly errIsTerminal: boolean
  readonly inIsTerminal: boolean
  /** Why standard output takes no more: `EPIPE` when its reader went away, `ENOSPC` …; null while it does. */
  outError(): string | null
  /** Cells of a line of standard output; undefined when it is not a terminal. */
  columns(): number | undefined
  /** Asks on standard error and reads a line. @throws FleetError `canceled` */
  ask(question: string, signal: AbortSignal): Promise<string>
  /** All of standard input. @throws FleetError `invalid_usage` when it is too large */
  readAll(): Promise<string>
  /** For what draws on the terminal itself (progress); null when standard error is not a terminal. */
  readonly drawing: NodeJS.WriteStream | null
}

/** What a process has of them. */
export type StandardStreams = Pick<NodeJS.Process, 'stdin' | 'stdout' | 'stderr'>

/** The terminal of this process. A reader that went away (`| head`) is no error. */
export function processTerminal({ stdin, stdout, stderr }: StandardStreams = process): Terminal {
  let failed: string | null = null
  stdout.on('error', (error: NodeJS.ErrnoException) => (failed ??= error.code ?? error.message))
  // Nobody is left to be told.
  stderr.on('error', () => undefined)
  return {
    out: (text) => void stdout.write(text),
    err: (text) => void stderr.write(text),
    outIsTerminal: Boolean(stdout.isTTY),
    errIsTerminal: Boolean(stderr.isTTY),
    inIsTerminal: Boolean(stdin.isTTY),
    outError: () => failed,
    columns: () => (stdout.isTTY ? stdout.columns : undefined),
    ask: (question, signal) => askOn(question, signal),
    readAll: () => readAll(stdin),
    // A terminal that is no cell wide (some recorders have none) can't be drawn on.
    drawing: stderr.isTTY && stderr.columns > 0 ? stderr : null,
  }
}

async function askOn(question: string, signal: AbortSignal): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  const stop = new AbortController()
  // In raw mode readline takes Ctrl-C itself and no signal reaches the process.
  lines.on('SIGINT', () => {
    stop.abort()
  })
  lines.on('close', () => {
    stop.abort()
  })
  try {
    return await lines.question(question, { signal: AbortSignal.any([signal, stop.signal]) })
  } catch (error) {
    throw new FleetError('canceled', 'the question was not answered', { cause: error })
  } finally {
    lines.close()
  }
}

async function readAll(stream: Readable): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > stdinBytesMax) {
      throw new FleetError('invalid_usage', `standard input is larger than ${String(stdinBytesMax)} bytes`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
