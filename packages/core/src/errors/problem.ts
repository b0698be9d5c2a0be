// RFC 9457 problem details: how an error looks in an HTTP answer.
import { ERRORS, type ErrorCode } from './catalogue.ts'
import { FleetError } from './fleet-error.ts'

/** Body of every HTTP error, content type application/problem+json. Facts of the error stand beside these. */
export interface Problem {
  readonly code: ErrorCode
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly retryable: boolean
  /** What to do: the error's own hint, else the remedy of the catalogue. */
  readonly hint: string
  readonly sqlstate: string
  readonly trace_id: string
  readonly [fact: string]: string | number | boolean | null | undefined
}

/** What became of what was asked: it happened, nothing of it did, or nobody can tell. */
export type Outcome = 'committed' | 'aborted' | 'unknown'

/** What an error says of a statement or transaction. What was refused or never sent counts as aborted. */
export function outcomeOf(error: FleetError): Outcome {
  const said = error.facts['outcome']
  if (said === 'committed' || said === 'aborted' || said === 'unknown') return said
  return error.code === 'outcome_unknown' || error.code === 'internal' ? 'unknown' : 'aborted'
}

/** The answer's body for an error. */
export function toProblem(error: FleetError, traceId: string): Problem {
  return {
    ...error.facts,
    code: error.code,
    title: ERRORS[error.code].title,
    status: error.status,
    detail: error.message,
    retryable: error.retryable,
    hint: error.hint ?? ERRORS[error.code].remedy,
    sqlstate: error.sqlstate,
    trace_id: traceId,
  }
}

/** The error that a problem body tells of; a body that isn't one becomes `server_unreachable`: something else answered. */
export function fromProblem(status: number, body: unknown): FleetError {
  const problem = (typeof body === 'object' && body !== null ? body : {}) as Partial<Problem>
  const code = typeof problem.code === 'string' && problem.code in ERRORS ? problem.code : undefined
  if (code === undefined) {
    return new FleetError(
      'server_unreachable',
      `what answered (HTTP ${String(status)}) does not speak as FleetShard does`,
      { hint: 'check the URL: it may be that of another service, or a proxy may have answered' },
    )
  }
  return new FleetError(code, String(problem.detail ?? ERRORS[code].title), {
    status,
    ...(typeof problem.hint === 'string' ? { hint: problem.hint } : {}),
    ...(typeof problem.sqlstate === 'string' ? { sqlstate: problem.sqlstate } : {}),
    ...(typeof problem.retryable === 'boolean' ? { retryable: problem.retryable } : {}),
    facts: factsOf(problem),
  })
}

const NAMED = new Set(['code', 'title', 'status', 'detail', 'retryable', 'hint', 'sqlstate'])

function factsOf(problem: Partial<Problem>): Record<string, string | number | boolean | null> {
  const facts: Record<string, string | number | boolean | null> = {}
  for (const [name, value] of Object.entries(problem)) {
    if (!NAMED.has(name) && (value === null || ['string', 'number', 'boolean'].includes(typeof value))) {
      facts[name] = value as string | number | boolean | null
    }
  }
  return facts
}
