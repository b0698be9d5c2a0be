// `sql`: one statement through the router.
import { FleetError } from '@fleetshard/core'
import type { ExecuteRequest, ExecuteResponse, RouterTopology } from '@fleetshard/core/contract'
import type { CommandContext } from '../context.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { usage } from '../options.ts'
import { renderList, toJson, toYaml, type View } from '../output/mod.ts'
import { say } from '../print.ts'
import { printTrace, StatementTrace } from '../statement-trace.ts'
import { outputFlag, type CommandSpec } from '../spec.ts'
import { CONSISTENCIES } from '../words.ts'

type Row = readonly unknown[]
const numeric = new Set(['int2', 'int4', 'int8', 'float4', 'float8', 'numeric', 'oid', 'money'])

/** `fleetshard sql`. */
export const sql: CommandSpec = {
  path: 'sql',
  permission: 'query',
  summary: 'run one SQL statement on the shard of a key, or on all shards',
  user: 'cli',
  args: [{ name: 'statement', doc: 'one statement; - reads it from standard input' }],
  flags: [
    { flags: '-k, --key <key>', doc: 'value of the shard key; needed where the keyspace has several shards' },
    {
      flags: '-p, --param <value>',
      doc: 'value of $1, $2, …; null for NULL; may be given several times',
      many: true,
    },
    {
      flags: '--consistency <level>',
      doc: 'strong reads the primary, eventual a replica',
      choices: CONSISTENCIES,
    },
    {
      flags: '--all-shards',
      doc: 'run it on every shard and put the rows together; refused where that were not the whole answer',
    },
    {
      flags: '--trace',
      doc: 'print where the time went, from here through router and plan to each shard, in place of the rows',
    },
    { flags: '--read-only', doc: 'refuse the statement if it writes' },
    { flags: '--max-rows <count>', doc: 'fail when there are more rows' },
    { flags: '--timeout <time>', doc: 'cancel the statement after so long, such as 30s' },
    outputFlag,
  ],
  examples: [
    'sql "select * from users where user_id = $1" --key user-123 --param user-123',
    'sql "select count(*) from users" --key user-123 --consistency eventual -o json',
    'sql "select user_id from users" --all-shards --trace',
  ],
  async run(context) {
    const { options, clock } = context
    const request = await requestOf(context)
    const trace = options.isSet('trace') ? new StatementTrace(clock) : null
    const answers = options.isSet('allShards')
      ? await runOnAll(context, request, trace)
      : [await runOne(context, request, trace)]
    if (trace !== null) return printTrace(context, trace.told())
    return print(context, answers)
  },
}

function runOne(
  { router }: CommandContext,
  request: ExecuteRequest,
  trace: StatementTrace | null,
): Promise<ExecuteResponse> {
  if (trace === null) return router.execute(request)
  return trace.run((traceparent) => router.execute(request, traceparent))
}

/** How often it begins anew because the map has changed meanwhile. */
const attemptsMax = 3

/**
 * On every shard that owns keys. Only what read is done by all of them under one map is the whole answer.
 * @throws FleetError `cross_shard` where the rows may not be put together, `stale_map`
 */
async function runOnAll(
  context: CommandContext,
  request: ExecuteRequest,
  trace: StatementTrace | null,
): Promise<readonly ExecuteResponse[]> {
  if (request.shard_key !== undefined) throw usage('--key names one shard, and --all-shards all of them')
  const name = context.config.get('keyspace')
  for (let attempt = 1; ; attempt += 1) {
    const topology = (): Promise<RouterTopology> => context.router.topology(name)
    const { keyspaces } = await (trace === null ? topology() : trace.map(topology))
    const [keyspace] = keyspaces
    const owners = keyspace?.shards.filter(({ vnodes = [] }) => vnodes.length > 0) ?? []
    if (owners.length === 0) throw new FleetError('no_shard', `keyspace ${name} has no active shard`)
    const answers = await Promise.all(
      owners.map(({ id }) => {
        const options = { ...request.options, shard_id: id, all_shards: true }
        return runOne(context, { ...request, options }, trace)
      }),
    )
    if (answers.every(({ epoch }) => epoch === keyspace?.keyspace.epoch)) {
      refuseMore(answers, request.options?.max_rows)
      return answers
    }
    if (attempt === attemptsMax)
      throw new FleetError('stale_map', 'the shard map changed while the shards were read', {
        hint: 'run it again',
      })
    trace?.begin()
  }
}

async function requestOf({ options, config, terminal }: CommandContext): Promise<ExecuteRequest> {
  const given = options.arg(0)
  const query = given === '-' ? await terminal.readAll() : given
  if (query.trim() === '') throw usage('the statement is empty')
  const key = options.text('key')
  const consistency = options.choice('consistency', CONSISTENCIES)
  const maxRows = options.int('maxRows', 0, 10_000_000)
  const timeoutMs = options.durationMs('timeout')
  return {
    query,
    params: options.list('param').map((value) => (value === 'null' ? null : value)),
    ...(key === undefined ? {} : { shard_key: key }),
    ...(consistency === undefined ? {} : { consistency }),
    options: {
      keyspace: config.get('keyspace'),
      row_format: 'array',
      ...(options.isSet('readOnly') ? { read_only: true } : {}),
      ...(maxRows === undefined ? {} : { max_rows: maxRows }),
      ...(timeoutMs === undefined ? {} : { timeout_ms: timeoutMs }),
    },
  }
}

/** Each shard has kept to the limit; together they may not. @throws FleetError `result_too_large` */
function refuseMore(answers: readonly ExecuteResponse[], rowsMax = Infinity): void {
  if (rowsOf(answers) <= rowsMax) return
  throw new FleetError('result_too_large', `the result has more than ${String(rowsMax)} rows`, {
    hint: 'raise --max-rows, or ask for less',
  })
}

const rowsOf = (answers: readonly ExecuteResponse[]): number =>
  answers.reduce((sum, { row_count: count }) => sum + count, 0)

function print(context: CommandContext, answers: readonly ExecuteResponse[]): ExitCode {
  const { terminal, output, style } = context
  const [answer] = answers
  if (answer === undefined) return EXIT.ok
  const rows = answers.flatMap((one) => one.rows as readonly Row[])
  if (output === 'json') terminal.out(toJson(objectsOf(answer, rows)))
  else if (output === 'yaml') terminal.out(toYaml(objectsOf(answer, rows)))
  else if (answer.columns.length > 0) {
    terminal.out(renderList(rows, viewOf(answer), output, { style, cells: terminal.columns() }))
  }
  const sum = rowsOf(answers)
  const count = `${String(sum)} ${sum === 1 ? 'row' : 'rows'}`
  const latencyMs = Math.max(...answers.map(({ latency_ms: ms }) => ms))
  const from = answers.map(({ node, shard_id: shard }) => `${node} of shard ${shard}`)
  say(context, `(${count} from ${from.join(', ')}, ${latencyMs.toFixed(1)} ms)`)
  return EXIT.ok
}

/** Rows as objects. Two columns of one name have no object: a table has. */
function objectsOf({ columns }: ExecuteResponse, rows: readonly Row[]): readonly Record<string, unknown>[] {
  const names = columns.map(({ name }) => name)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) {
    throw new FleetError('invalid_request', `two columns are called ${twice}`, {
      hint: 'name them apart with AS',
    })
  }
  return rows.map((row) => Object.fromEntries(names.map((name, index) => [name, row[index]])))
}

function viewOf({ columns }: ExecuteResponse): View<Row> {
  return {
    name: (row) => textOf(row[0]),
    columns: columns.map(({ name, type }, index) => ({
      header: name,
      cell: (row) => textOf(row[index]),
      align: numeric.has(type) ? 'right' : 'left',
      paint: (row, style) => (row[index] === null ? style.dim : (text) => text),
    })),
  }
}

function textOf(value: unknown): string {
  if (value === null || value === undefined) return 'NULL'
  return typeof value === 'string' ? value : JSON.stringify(value)
}
