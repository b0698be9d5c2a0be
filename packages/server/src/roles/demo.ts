// `fleetshard demo`: what the product can do, shown on real data on a fresh cluster, every row checked, and everything
// removed in the end. Exits with 0 only when all that was promised held.
import { FleetError } from '@fleetshard/core'
import { EXIT, type CommandContext, type ExitCode } from '../cli/mod.ts'
import type { ActOutcome, Stage } from './demo/act.ts'
import { ACTS } from './demo/acts.ts'
import { citiesAttribution, loadCities } from './demo/cities.ts'
import { declareTables, makeDemoCluster, type DemoCluster } from './demo/cluster.ts'
import type { DataSet } from './demo/data-set.ts'
import { Performance } from './demo/performance.ts'
import { makeUsers, userCountDefault } from './demo/users.ts'
import { counted } from './demo/wording.ts'
import { refuseOpenBind } from './loopback.ts'

/** More rows than anybody has patience for. */
const rowsMax = 1_000_000

/** @throws FleetError when the cluster can't be started; failures of acts are printed and end with exit code 1 */
export async function runDemo(context: CommandContext): Promise<ExitCode> {
  const { config, stop, terminal, version } = context
  refuseOpenBind(config)
  refuseDataDir(context)
  const performance = new Performance(context)
  const facts = { attribution: citiesAttribution, version, node: process.versions.node, postgres: '' }
  const dataSets = await input(context, performance)
  const cluster = makeDemoCluster(context)
  try {
    await open(cluster, performance)
    facts.postgres = cluster.postgresVersion
    await playAll(cluster.stage(dataSets), performance)
  } finally {
    await close(cluster, performance)
  }
  stop.throwIfAborted()
  const holds = performance.failures.length === 0
  performance.tell(holds ? 'everything held; nothing is left running' : 'NOT everything held')
  if (performance.isJson) terminal.out(`${JSON.stringify(performance.result(facts))}\n`)
  return holds ? EXIT.ok : EXIT.failed
}

/** @throws FleetError `invalid_usage` */
function refuseDataDir({ config }: CommandContext): void {
  if (config.flagGiven('data-dir') === null) return
  throw new FleetError('invalid_usage', 'the demo makes a temporary directory of its own and removes it', {
    hint: 'leave out --data-dir; fleetshard quickstart makes a cluster to keep',
  })
}

/** The rows, before anything is started for them. */
async function input({ options }: CommandContext, performance: Performance): Promise<readonly DataSet[]> {
  const dataSets: DataSet[] = []
  await performance.play({ name: 'input', title: 'the input is read' }, () => {
    const cities = loadCities(options.int('cities', 1, rowsMax) ?? rowsMax)
    const users = makeUsers(options.int('users', 1, rowsMax) ?? userCountDefault)
    dataSets.push(cities, users)
    const lines = [
      `${counted(cities.rows.length)} cities of GeoNames, and ${counted(users.rows.length)} users made up`,
      citiesAttribution,
    ]
    return Promise.resolve({ figures: {}, lines, failures: [] })
  })
  return dataSets
}

/** The cluster, and what there is to play on. */
async function open(cluster: DemoCluster, performance: Performance): Promise<void> {
  await performance.play(
    { name: 'start', title: 'a cluster is started' },
    async (say): Promise<ActOutcome> => {
      await cluster.start(say)
      const servers = `${String(cluster.serverCount)} servers of PostgreSQL ${cluster.postgresVersion}`
      return {
        figures: {},
        lines: [`${servers}, manager, router and worker, in ${cluster.folder}`],
        failures: [],
      }
    },
  )
}

/** The tables, then the acts in order; one that can't be played ends it. */
async function playAll(stage: Stage, performance: Performance): Promise<void> {
  const tables = stage.dataSets.map(({ table, columns }) => `${table} by ${columns[0]}`).join(', ')
  const declare = {
    name: 'tables',
    title: 'the tables are declared, and made on every shard',
    async run(): Promise<ActOutcome> {
      await declareTables(stage)
      return { figures: {}, lines: [tables], failures: [] }
    },
  }
  for (const act of [declare, ...ACTS]) {
    try {
      await performance.play(act, (say) => act.run(stage, say))
    } catch (error) {
      stage.signal.throwIfAborted()
      performance.fail(act, error)
      return
    }
  }
}

/** Stops what runs and removes the directory, also after a failure. */
async function close(cluster: DemoCluster, performance: Performance): Promise<void> {
  await performance.play({ name: 'stop', title: 'everything is stopped and removed' }, async () => {
    await cluster[Symbol.asyncDispose]()
    return { figures: {}, lines: [], failures: [] }
  })
}
