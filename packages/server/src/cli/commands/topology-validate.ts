// `topology validate`: reads a topology file as a static router would, and shows what it would do.
import {
  buildShardMap,
  FleetError,
  formatEndpoint,
  parseKey,
  rangesByShard,
  shareOf,
  type ShardMap,
} from '@fleetshard/core'
import {
  readTopologyFile,
  topologyCharsMax,
  type Topology,
  type TopologyMistake,
} from '@fleetshard/core/topology-file'
import { readFileSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import type { CommandContext } from '../context.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { printable, renderList, toJson, toYaml, type View } from '../output/mod.ts'
import { say } from '../print.ts'
import { outputFlag, type CommandSpec } from '../spec.ts'

/** What is shown of a file; JSON and YAML have it as it is. */
interface Shown {
  readonly valid: true
  readonly keyspace: string
  readonly strategy: string
  readonly hash: string
  readonly default_consistency: string
  readonly shards: readonly ShownShard[]
  readonly tables: readonly ShownTable[]
  readonly samples: readonly Sample[]
}

interface ShownShard {
  readonly shard_id: string
  readonly owns: string
  readonly primary: string
  readonly replicas: readonly string[]
}

interface ShownTable {
  readonly name: string
  readonly kind: string
  readonly key_column: string | null
  readonly key_type: string | null
}

interface Sample {
  readonly key: string
  readonly hash: string
  readonly shard_id: string
}

const samplesCount = 5

const shardView: View<ShownShard> = {
  name: (shard) => shard.shard_id,
  columns: [
    { header: 'SHARD', cell: (shard) => shard.shard_id, whole: true },
    { header: 'OWNS', cell: (shard) => shard.owns, align: 'right' },
    { header: 'PRIMARY', cell: (shard) => shard.primary },
    { header: 'REPLICAS', cell: (shard) => shard.replicas.join(' ') },
  ],
}

const tableView: View<ShownTable> = {
  name: (table) => table.name,
  columns: [
    { header: 'TABLE', cell: (table) => table.name, whole: true },
    { header: 'KIND', cell: (table) => table.kind },
    { header: 'KEY', cell: (table) => table.key_column },
    { header: 'TYPE', cell: (table) => table.key_type },
  ],
}

const sampleView: View<Sample> = {
  name: (sample) => sample.key,
  columns: [
    { header: 'KEY', cell: (sample) => sample.key, whole: true },
    { header: 'HASH', cell: (sample) => sample.hash, align: 'right' },
    { header: 'SHARD', cell: (sample) => sample.shard_id },
  ],
}

/** `fleetshard topology validate`. */
export const topologyValidate: CommandSpec = {
  path: 'topology validate',
  permission: null,
  summary: 'check a topology file of the static mode, and show where keys would lie',
  details:
    'Every mistake is printed with its line and column. No server is asked, and no password is printed. Exit code 2 ' +
    'for a file that is not valid.',
  user: 'cli',
  args: [{ name: 'file', doc: 'the topology file; - for standard input' }],
  flags: [
    { flags: '--key <key>', doc: 'a key to place, by the key type of the tables; repeatable', many: true },
    outputFlag,
  ],
  examples: ['topology validate topology.json', 'topology validate topology.json --key user-123 -o json'],
  async run(context) {
    const given = context.options.arg(0)
    const name = given === '-' ? 'standard input' : given
    const text = await readText(context, given)
    const reading = readTopologyFile(text)
    if (reading.kind === 'refused') return printMistakes(context, name, reading.mistakes)
    return print(context, shownOf(reading.topology, context.options.list('key')))
  },
}

async function readText({ terminal, cwd }: CommandContext, given: string): Promise<string> {
  if (given === '-') return terminal.readAll()
  const path = resolve(cwd, given)
  try {
    if (statSync(path).size <= topologyCharsMax * 2) return readFileSync(path, 'utf8')
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : String(error)
    throw new FleetError('invalid_config', `${given} cannot be read: ${reason}`, {
      hint: 'check the path of the topology file',
      cause: error,
    })
  }
  throw new FleetError('invalid_config', `${given} is too large to be a topology file`)
}

function printMistakes(
  context: CommandContext,
  name: string,
  mistakes: readonly TopologyMistake[],
): ExitCode {
  const { terminal, output, errStyle } = context
  if (output === 'json') terminal.out(toJson({ valid: false, mistakes }))
  else if (output === 'yaml') terminal.out(toYaml({ valid: false, mistakes }))
  for (const { line, column, message, hint } of mistakes) {
    const where = `${name}:${String(line)}:${String(column)}:`
    say(context, `${errStyle.red('error:')} ${printable(`${where} ${message}`)}`)
    if (hint !== null) say(context, `${errStyle.dim('hint:')} ${printable(hint)}`)
  }
  return EXIT.usage
}

function shownOf({ snapshot }: Topology, keys: readonly string[]): Shown {
  const map = buildShardMap(snapshot)
  const ranges = map.ring === null ? null : rangesByShard(map.ring)
  const { name, strategy, hash, defaultConsistency } = snapshot.keyspace
  return {
    valid: true,
    keyspace: name,
    strategy,
    hash,
    default_consistency: defaultConsistency,
    shards: snapshot.shards.map((shard) => {
      const endpoints = shard.nodes.map((node) => formatEndpoint(node))
      const owned = ranges === null ? 1 / snapshot.shards.length : shareOf(ranges.get(shard.id) ?? [])
      return {
        shard_id: shard.id,
        owns: `${(owned * 100).toFixed(1)}%`,
        primary: endpoints[0] ?? '',
        replicas: endpoints.slice(1),
      }
    }),
    tables: snapshot.tables.map((table) => ({
      name: table.name,
      kind: table.kind,
      key_column: table.keyColumn,
      key_type: table.keyType,
    })),
    samples: (keys.length > 0 ? keys : sampleKeys(map)).map((key) => sampleOf(map, key)),
  }
}

/** Keys of the type that the tables have. */
function sampleKeys({ keyType }: ShardMap): readonly string[] {
  const numbers = Array.from({ length: samplesCount }, (_, index) => String(index + 1))
  switch (keyType) {
    case 'uuid':
      return numbers.map((digit) => `${digit.repeat(8)}-0000-4000-8000-000000000000`)
    case 'bytea':
      return numbers.map((digit) => `\\x0${digit}`)
    case 'int2':
    case 'int4':
    case 'int8':
      return numbers
    default:
      return numbers.map((number) => `user-${number}`)
  }
}

function sampleOf(map: ShardMap, key: string): Sample {
  const type = map.keyType ?? 'text'
  const { hash, shard } = map.locate(parseKey(key, type), type)
  return { key, hash, shard_id: shard.id }
}

function print({ terminal, output, style }: CommandContext, shown: Shown): ExitCode {
  const cells = terminal.columns()
  const layout = { style, cells }
  switch (output) {
    case 'json':
      terminal.out(toJson(shown))
      return EXIT.ok
    case 'yaml':
      terminal.out(toYaml(shown))
      return EXIT.ok
    case 'name':
      terminal.out(renderList(shown.shards, shardView, output, layout))
      return EXIT.ok
    default:
      terminal.out(
        `keyspace ${shown.keyspace}: ${shown.hash} and ${shown.strategy} over ${String(shown.shards.length)} shards, ` +
          `${shown.default_consistency} reads by default\n\n`,
      )
      terminal.out(`${renderList(shown.shards, shardView, output, layout)}\n`)
      if (shown.tables.length > 0) terminal.out(`${renderList(shown.tables, tableView, output, layout)}\n`)
      terminal.out(renderList(shown.samples, sampleView, output, layout))
      return EXIT.ok
  }
}
