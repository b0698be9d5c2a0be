// For tests: one call of the command line with a terminal that writes down, and servers that are functions.
import { toProblem, type FleetError } from '@fleetshard/core'
import { manualClock, type ManualClock } from '../../runtime/testing/manual-clock.ts'
import { commandTable } from '../commands.ts'
import type { ExitCode } from '../exit-codes.ts'
import type { RoleRunners } from '../role-commands.ts'
import { runCli } from '../run.ts'
import type { Terminal } from '../terminal.ts'

/** One request as a server sees it. */
export interface Seen {
  readonly method: string
  /** With the query. */
  readonly path: string
  readonly host: string
  readonly body: unknown
  readonly headers: Headers
}

/** What a server answers: a body for 200, an error for its problem, or a Response. */
export type Answer = (request: Seen) => unknown

/** How a call is made. */
export interface CallOptions {
  /** `GET /path` → its answer; the path is without the query. */
  readonly answers?: Readonly<Record<string, Answer>>
  readonly env?: Readonly<Record<string, string>>
  readonly columns?: number
  readonly stdin?: string
  /** What is typed when the command asks; asked nothing when left out. */
  readonly typed?: string
  readonly stop?: AbortController
  /** Why standard output takes no more. */
  readonly outError?: () => string | null
  readonly runners?: RoleRunners
  readonly cwd?: string
  readonly clock?: ManualClock
}

/** What came of it. */
export interface Outcome {
  readonly code: ExitCode
  readonly out: string
  readonly err: string
  readonly seen: readonly Seen[]
}

/** Runs the command line of the words. */
export async function call(words: readonly string[], options: CallOptions = {}): Promise<Outcome> {
  const seen: Seen[] = []
  const text = { out: '', err: '' }
  const code = await runCli(commandTable(options.runners ?? {}), words, {
    env: options.env ?? {},
    terminal: terminalOf(text, options),
    clock: options.clock ?? manualClock(),
    stop: (options.stop ?? new AbortController()).signal,
    forced: new AbortController().signal,
    fetch: fetchOf(options.answers ?? {}, seen),
    cwd: options.cwd ?? '/nonexistent',
    version: '0.0.0-test',
  })
  return { code, ...text, seen }
}

function terminalOf(
  text: { out: string; err: string },
  { columns, stdin, typed, outError = () => null }: CallOptions,
): Terminal {
  return {
    out: (part) => void (text.out += part),
    err: (part) => void (text.err += part),
    outIsTerminal: columns !== undefined,
    errIsTerminal: false,
    inIsTerminal: typed !== undefined,
    outError,
    columns: () => columns,
    ask(question) {
      text.err += question
      return Promise.resolve(typed ?? '')
    },
    readAll: () => Promise.resolve(stdin ?? ''),
    drawing: null,
  }
}

function fetchOf(answers: Readonly<Record<string, Answer>>, seen: Seen[]): typeof fetch {
  return async (input, init) => {
    const request = new Request(input, init)
    const url = new URL(request.url)
    const body = await request.text()
    const one: Seen = {
      method: request.method,
      path: url.pathname + url.search,
      host: url.host,
      body: body === '' ? undefined : JSON.parse(body),
      headers: request.headers,
    }
    seen.push(one)
    const answer = answers[`${request.method} ${url.pathname}`]
    if (answer === undefined) throw new TypeError('fetch failed')
    return responseOf(answer(one))
  }
}

function responseOf(answer: unknown): Response {
  if (answer instanceof Response) return answer
  if (answer instanceof Error) {
    const error = answer as FleetError
    return Response.json(toProblem(error, 'trace-1'), { status: error.status })
  }
  return answer === undefined ? new Response(null, { status: 204 }) : Response.json(answer)
}
