// `table create`: statements of a file run on every shard or on none, and the tables declared.
import { FleetError } from '@fleetshard/core'
import type { CreateTables, Job } from '@fleetshard/core/contract'
import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import type { CommandContext } from '../context.ts'
import { usage } from '../options.ts'
import { printList, printPlan, say } from '../print.ts'
import { createdTables, declarations, declaredTables, schemaCharsMax } from '../schema-file.ts'
import { dryRunFlag, outputFlag, reasonFlag, timeoutFlag, type CommandSpec } from '../spec.ts'
import { finishJob } from '../job-wait.ts'
import { tableFlags, tableFlagsOf } from '../table-flags.ts'
import { tableView } from '../views.ts'

const waitMsDefault = 60_000
const answerWaitMsMax = 60_000

/** `fleetshard table create`. */
export const tableCreate: CommandSpec = {
  path: 'table create',
  permission: 'operate',
  summary: 'create the tables of a schema file on every shard, or on none',
  details:
    'Each table is sharded by a column, or has all its rows on every shard (reference) or on one (global). Say so by ' +
    'flags, or in the file by comments: "-- fleetshard: users key user_id", "-- fleetshard: countries reference".',
  user: 'cli',
  flags: [
    { flags: '-f, --file <path>', doc: 'file with the statements; - for standard input', required: true },
    ...tableFlags,
    timeoutFlag,
    outputFlag,
    dryRunFlag,
    reasonFlag,
  ],
  examples: [
    'table create -f schema.sql --key user_id',
    'table create -f schema.sql --key users=user_id --reference countries',
  ],
  async run(context) {
    const { options, config, admin, change, stop } = context
    const ddl = await readSchema(context, options.textRequired('file'))
    const created = createdTables(ddl)
    if (created.length === 0)
      throw usage('the file creates no table', 'table declare is for tables that exist')
    const tables = [...declarations(created, tableFlagsOf(options), declaredTables(ddl))]
    const keyspace = config.get('keyspace')
    const path = `/api/v1/keyspaces/${keyspace}/tables`
    if (options.isSet('dryRun')) {
      const { shards } = await admin.shards.list({ keyspace, vnodes: false }, { signal: stop })
      const effects = [
        `${created.join(', ')} would be created on ${String(shards.length)} shards, or on none`,
      ]
      return printPlan(context, { method: 'POST', path, body: { tables, ddl }, effects })
    }
    const timeoutMs = options.durationMs('timeout') ?? waitMsDefault
    const body: CreateTables = { tables, ddl, wait_ms: Math.min(timeoutMs, answerWaitMsMax) }
    const creation = await admin.tables.create(keyspace, body, { ...change, timeoutMs: timeoutMs + 5000 })
    for (const warning of creation.warnings) say(context, `warning: ${warning}`)
    if (creation.job !== null) throwIfFailed(await finishJob(context, creation.job.id, timeoutMs))
    const all = (await admin.tables.list(keyspace, { signal: stop })).tables
    const names = new Set(creation.tables.map(({ name }) => name))
    const shown =
      creation.job === null ? creation.tables : all.filter(({ name }) => names.size === 0 || names.has(name))
    return printList(context, shown, tableView, 'no tables')
  },
}

async function readSchema({ terminal, cwd }: CommandContext, file: string): Promise<string> {
  const text = file === '-' ? await terminal.readAll() : readBounded(resolve(cwd, file))
  if (text.length <= schemaCharsMax) return text
  throw usage(
    `the schema is longer than ${String(schemaCharsMax)} characters`,
    'create the tables in several parts',
  )
}

function readBounded(path: string): string {
  try {
    // Four bytes are the most that one character takes.
    if (statSync(path).size <= schemaCharsMax * 4) return readFileSync(path, 'utf8')
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : String(error)
    throw usage(`the file ${path} cannot be read: ${reason}`)
  }
  throw usage(`the file ${path} is too large for a schema`)
}

function throwIfFailed(job: Job): void {
  if (job.status === 'completed') return
  throw new FleetError('schema_failed', job.error_message ?? `job ${job.id} is ${job.status}`, {
    hint: `fleetshard job get ${job.id} has the details`,
  })
}
