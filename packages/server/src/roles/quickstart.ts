// `fleetshard quickstart`: a cluster with a table and rows in it, and a screen that says what to try. Running it again
// reuses what is there.
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { createAdminClient } from '@fleetshard/client/admin'
import { FleetError } from '@fleetshard/core'
import { createRouterClient, EXIT, runSteps, type CommandContext, type ExitCode } from '../cli/mod.ts'
import { adminTokenPath, dataDirOf, readAdminToken, type ClusterState } from '../runtime/mod.ts'
import { refuseOpenBind } from './loopback.ts'
import { liveCluster } from './running.ts'
import { renderScreen, screenCellsMax, wrapped, type Example, type ShownShard } from './quickstart/screen.ts'
import { countUsers, fillUsers, makeUsersTable, userCount, type FilledUsers } from './quickstart/users.ts'
import { dataDirWords } from './up/banner.ts'
import { startDetached } from './up/detach.ts'

const commandMsMax = 20_000
/** The user of the examples. */
const exampleUser = 'user-42'

/** @throws FleetError of whatever went wrong, one cause and one command */
export async function runQuickstart(context: CommandContext): Promise<ExitCode> {
  const { config, cwd, clock } = context
  refuseOpenBind(config)
  const begunMs = clock.monotonic()
  const dataDir = dataDirOf(config, cwd)
  if ((await liveCluster(dataDir)) === null) await startDetached(context)
  const state = await liveCluster(dataDir)
  if (state === null) {
    throw new FleetError('internal', 'the cluster ended right after its start', {
      hint: `see the end of ${dataDir}/fleetshard.log`,
    })
  }
  const filled = await fillSample(context, state)
  const shards = await shownShards(context, state, filled)
  const words = dataDirWords(dataDir, dataDirOf(config.with({ 'data-dir': null }), cwd))
  const examples = await runExamples(context, state, words)
  const tookMs = clock.monotonic() - begunMs
  context.terminal.out(`\n${renderScreen({ state, tookMs, shards, examples, words }, context.style)}`)
  return EXIT.ok
}

/** The table and its rows. */
async function fillSample(context: CommandContext, state: ClusterState): Promise<FilledUsers> {
  const { clock, stop, terminal } = context
  const [admin, router] = [adminOf(context, state), routerOf(context, state)]
  let filled: FilledUsers = { userOf: new Map() }
  await runSteps(terminal, [
    { title: 'users table', run: () => makeUsersTable(admin, stop) },
    {
      title: `${String(userCount)} users`,
      run: async (say) => {
        filled = await fillUsers({ router, clock, signal: stop }, say)
      },
    },
  ])
  return filled
}

async function shownShards(
  context: CommandContext,
  state: ClusterState,
  { userOf }: FilledUsers,
): Promise<readonly ShownShard[]> {
  const router = routerOf(context, state)
  const { shards } = await adminOf(context, state).shards.list({ keyspace: 'default', vnodes: false })
  return Promise.all(
    shards.map(async ({ id, name, primary_endpoint: primary, replicas }) => {
      const user = userOf.get(id)
      const users = user === undefined ? null : await countUsers(router, user)
      return { name, users, primary: addressOf(primary ?? ''), replicas: replicas.map(addressOf) }
    }),
  )
}

/** `127.0.0.1:15433` of an endpoint. */
function addressOf(endpoint: string): string {
  return URL.parse(endpoint)?.host ?? endpoint
}

/** Runs what the screen proposes, so that it shows real answers. */
async function runExamples(
  context: CommandContext,
  state: ClusterState,
  words: string,
): Promise<readonly Example[]> {
  const body = [
    `{`,
    `  "shard_key": "${exampleUser}", "params": ["${exampleUser}"],`,
    `  "query": "SELECT name, email FROM users WHERE user_id = $1"}`,
  ].join('\n')
  const url = `${state.urls.router}/v1/execute`
  const statement = `SELECT count(*) FROM users`
  return [
    {
      command: `curl -s ${url} -H 'content-type: application/json'${whatCurlNeeds(state)} -d '${body}'`.split(
        '\n',
      ),
      answer: wrapped(await post(context, state, url, body), screenCellsMax, ''),
    },
    {
      command: ofLines(`npx fleetshard sql "${statement}" --key ${exampleUser}`, words),
      answer: await ownOutput(context, state, ['sql', statement, '--key', exampleUser]),
    },
  ]
}

/** The command in one line, or in two where it would be too long for the screen. */
function ofLines(command: string, words: string): readonly string[] {
  const whole = command + words
  return whole.length <= screenCellsMax ? [whole] : [`${command} \\`, ` ${words}`]
}

/** What curl needs where whoever asks must say who he is, and where there is TLS. */
function whatCurlNeeds({ auth, dataDir, tls }: ClusterState): string {
  const trust = tls === undefined || tls.ca === null ? '' : ` \\\n  --cacert ${tls.ca}`
  const shown = tls === undefined ? '' : ` --cert ${tls.certificate} --key ${tls.key}`
  if (auth !== 'required') return trust + shown
  return `${trust}${shown} \\\n  -H "authorization: Bearer $(cat ${adminTokenPath(dataDir)})"`
}

async function post(
  { fetch, stop }: CommandContext,
  { dataDir }: ClusterState,
  url: string,
  body: string,
): Promise<string> {
  const token = readAdminToken(dataDir)
  const signal = AbortSignal.any([stop, AbortSignal.timeout(commandMsMax)])
  const headers = {
    'content-type': 'application/json',
    ...(token === null ? {} : { authorization: `Bearer ${token}` }),
  }
  return (await (await fetch(url, { method: 'POST', headers, body, signal })).text()).trim()
}

/** What our own command line prints, as another process. */
async function ownOutput(
  { stop, cwd, env }: CommandContext,
  { dataDir }: ClusterState,
  words: readonly string[],
): Promise<readonly string[]> {
  const [, script = ''] = process.argv
  const args = [...process.execArgv, script, ...words, '--data-dir', dataDir]
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, {
    cwd,
    env: { ...env, NO_COLOR: '1' },
    signal: stop,
    timeout: commandMsMax,
  })
  return `${stdout}${stderr}`.split('\n').filter((line) => line !== '')
}

function adminOf(
  { config, fetch }: CommandContext,
  { urls, dataDir }: ClusterState,
): ReturnType<typeof createAdminClient> {
  const token = readAdminToken(dataDir)
  return createAdminClient({
    url: urls.manager,
    timeoutMs: config.get('request-timeout-ms'),
    fetch,
    ...(token === null ? {} : { token }),
  })
}

function routerOf(
  { config, fetch, stop }: CommandContext,
  { urls, dataDir }: ClusterState,
): ReturnType<typeof createRouterClient> {
  return createRouterClient({
    url: urls.router,
    token: readAdminToken(dataDir),
    timeoutMs: config.get('request-timeout-ms'),
    signal: stop,
    fetch,
  })
}
