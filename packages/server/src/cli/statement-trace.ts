// The trace of one statement from the command line on: a span for the call, one for each request, and below it what the
// router tells of its own. Printed as a tree.
import { randomBytes } from 'node:crypto'
import type { Clock } from '@fleetshard/core'
import type { AnsweredSpan, ExecuteResponse } from '@fleetshard/core/contract'
import type { CommandContext } from './context.ts'
import { EXIT, type ExitCode } from './exit-codes.ts'
import { printable, toJson, toYaml } from './output/mod.ts'

/** A span with those below it. */
export interface TracedSpan {
  readonly name: string
  readonly span_id: string
  /** Since the call began; that of a router is what its request took longer than its answer says, halved. */
  readonly start_ms: number
  readonly duration_ms: number
  readonly attributes: AnsweredSpan['attributes']
  readonly error: string | null
  readonly children: readonly TracedSpan[]
}

/** A whole trace. */
export interface ToldTrace {
  readonly trace_id: string
  readonly root: TracedSpan
}

interface Asked {
  readonly id: string
  readonly startMs: number
  readonly endMs: number
  readonly answer: ExecuteResponse
}

/** Takes the times of the requests of one statement. */
export class StatementTrace {
  readonly #clock: Clock
  readonly #traceId = randomBytes(16).toString('hex')
  #asked: Asked[] = []
  #map: TracedSpan | null = null
  #startMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#startMs = clock.monotonic()
  }

  /** What was asked before does not count. */
  begin(): void {
    this.#asked = []
    this.#map = null
    this.#startMs = this.#clock.monotonic()
  }

  /** Asks for the map by which shards are chosen. */
  async map<T>(ask: () => Promise<T>): Promise<T> {
    const startMs = this.#clock.monotonic()
    const map = await ask()
    const timed = { start_ms: startMs - this.#startMs, duration_ms: this.#clock.monotonic() - startMs }
    this.#map = spanOf('map', randomBytes(8).toString('hex'), timed)
    return map
  }

  /** Runs one request, as a span of its own. */
  async run(ask: (traceparent: string) => Promise<ExecuteResponse>): Promise<ExecuteResponse> {
    const id = randomBytes(8).toString('hex')
    const startMs = this.#clock.monotonic()
    const answer = await ask(`00-${this.#traceId}-${id}-01`)
    this.#asked.push({ id, startMs, endMs: this.#clock.monotonic(), answer })
    return answer
  }

  /** The tree, once all is answered. */
  told(): ToldTrace {
    const endMs = Math.max(this.#startMs, ...this.#asked.map((asked) => asked.endMs))
    const requests = this.#asked.toSorted(byShard).map((asked) => this.#request(asked))
    const timed = { start_ms: 0, duration_ms: endMs - this.#startMs }
    const root = spanOf('client', randomBytes(8).toString('hex'), timed)
    const children = this.#map === null ? requests : [this.#map, ...requests]
    return { trace_id: this.#traceId, root: { ...root, children } }
  }

  #request({ id, startMs, endMs, answer }: Asked): TracedSpan {
    const { spans = [], row_count: rows } = answer
    const startedMs = startMs - this.#startMs
    const [first] = spans
    // Clocks of two machines tell nothing of the way between them: both halves are taken to be alike.
    const offsetMs = startedMs + Math.max(0, endMs - startMs - (first?.duration_ms ?? 0)) / 2
    return {
      ...spanOf('request', id, { start_ms: startedMs, duration_ms: endMs - startMs }),
      attributes: { 'db.response.returned_rows': rows },
      children: below(spans, id, offsetMs),
    }
  }
}

const spanOf = (
  name: string,
  id: string,
  { start_ms, duration_ms }: Pick<TracedSpan, 'start_ms' | 'duration_ms'>,
): TracedSpan => ({
  name,
  span_id: id,
  start_ms: rounded(start_ms),
  duration_ms: rounded(duration_ms),
  attributes: {},
  error: null,
  children: [],
})

const byShard = (one: Asked, other: Asked): number =>
  one.answer.shard_id < other.answer.shard_id ? -1 : Number(one.answer.shard_id > other.answer.shard_id)

function below(spans: readonly AnsweredSpan[], parent: string, offsetMs: number): readonly TracedSpan[] {
  return spans
    .filter((span) => span.parent_span_id === parent)
    .map(({ name, span_id, start_ms, duration_ms, attributes, error }) => ({
      name: span_id === spans[0]?.span_id ? `router ${name}` : name,
      span_id,
      start_ms: rounded(start_ms + offsetMs),
      duration_ms,
      attributes,
      error,
      children: below(spans, span_id, offsetMs),
    }))
}

const rounded = (ms: number): number => Math.round(ms * 1000) / 1000

/** Prints it in the form asked for. */
export function printTrace(context: CommandContext, trace: ToldTrace): ExitCode {
  const { terminal, output } = context
  if (output === 'json') terminal.out(toJson(trace))
  else if (output === 'yaml') terminal.out(toYaml(trace))
  else if (output === 'name') terminal.out(`${trace.trace_id}\n`)
  else terminal.out(textOf(trace))
  return EXIT.ok
}

interface Line {
  readonly text: string
  readonly ms: string
  readonly about: string
}

function textOf({ trace_id: id, root }: ToldTrace): string {
  const lines = linesOf(root, '', '')
  const width = Math.max(...lines.map(({ text }) => text.length))
  const msWidth = Math.max(...lines.map(({ ms }) => ms.length))
  const tree = lines.map(({ text, ms, about }) =>
    `${text.padEnd(width)}  ${ms.padStart(msWidth)} ms  ${about}`.trimEnd(),
  )
  return `${[`trace ${id}`, ...tree].join('\n')}\n`
}

function linesOf(span: TracedSpan, first: string, rest: string): readonly Line[] {
  const { name, duration_ms: ms, children } = span
  const own = { text: printable(`${first}${name}`), ms: ms.toFixed(2), about: printable(aboutOf(span)) }
  const inner = children.flatMap((child, index) => {
    const isLast = index === children.length - 1
    return linesOf(child, `${rest}${isLast ? '└─ ' : '├─ '}`, `${rest}${isLast ? '   ' : '│  '}`)
  })
  return [own, ...inner]
}

function aboutOf({ attributes, error }: TracedSpan): string {
  const shard = attributes['fleetshard.shard.id']
  const node = attributes['fleetshard.node.id']
  const rows = attributes['db.response.returned_rows']
  const words = [
    ...(shard === undefined ? [] : [`${String(shard)}${node === undefined ? '' : ` on ${String(node)}`}`]),
    ...(rows === undefined ? [] : [`${String(rows)} ${rows === 1 ? 'row' : 'rows'}`]),
    ...(error === null ? [] : [`failed: ${error}`]),
  ]
  return words.join(', ')
}
