// `sql`: one statement through the router.
import { FleetError } from '@fleetshard/core'
import type { ExecuteRequest, ExecuteResponse } from '@fleetshard/core/contract'
import type { CommandContext } from '../context.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { usage } from '../options.ts'
import { renderList, toJson, toYaml, type View } from '../output/mod.ts'
import { say } from '../print.ts'
import { outputFlag, type CommandSpec } from '../spec.ts'
import { CONSISTENCIES } from '../words.ts'

type Row = readonly unknown[]
const numeric = new Set(['int2', 'int4', 'int8', 'float4', 'float8', 'numeric', 'oid', 'money'])

/** `fleetshard sql`. */
export const sql: CommandSpec = {
  path: 'sql',
  permission: 'query',
  summary: 'run one SQL statement on the shard of a key',
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
    { flags: '--read-only', doc: 'refuse the statement if it writes' },
    { flags: '--max-rows <count>', doc: 'fail when there are more rows' },
    { flags: '--timeout <time>', doc: 'cancel the statement after so long, such as 30s' },
    outputFlag,
  ],
  examples: [
    'sql "select * from users where user_id = $1" --key user-123 --param user-123',
    'sql "select count(*) from users" --key user-123 --consistency eventual -o json',
  ],
  async run(context) {
    const answer = await context.router.execute(await requestOf(context))
    return print(context, answer)
  },
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

function print(context: CommandContext, answer: ExecuteResponse): ExitCode {
  const { terminal, output, style } = context
  const rows = answer.rows as readonly Row[]
  if (output === 'json') terminal.out(toJson(objectsOf(answer, rows)))
  else if (output === 'yaml') terminal.out(toYaml(objectsOf(answer, rows)))
  else if (answer.columns.length > 0) {
    terminal.out(renderList(rows, viewOf(answer), output, { style, cells: terminal.columns() }))
  }
  const count = `${String(answer.row_count)} ${answer.row_count === 1 ? 'row' : 'rows'}`
  say(
    context,
    `(${count} from ${answer.node} of shard ${answer.shard_id}, ${answer.latency_ms.toFixed(1)} ms)`,
  )
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
