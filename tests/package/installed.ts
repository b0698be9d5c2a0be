// The client as others get it: built, packed, installed in an empty project without a network.
import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { buildClient } from '../../tools/client/package.ts'
import { root } from '../e2e/harness/paths.ts'

const run = promisify(execFile)

/** A project with the client in its node_modules. */
export interface Installed extends Disposable {
  readonly folder: string
  /** The folder that was packed. */
  readonly package: string
  /** `name@version` of all packages that npm installed, the client included. */
  readonly packages: readonly string[]
}

/** The packages that the client needs come out of this workspace's node_modules, packed again. */
const dependencies = ['libpg-query', '@pgsql/types']

/** Builds, packs, installs. */
export async function installClient(): Promise<Installed> {
  const base = mkdtempSync(join(tmpdir(), 'fleetshard-package-'))
  try {
    const [built, folder] = [join(base, 'package'), join(base, 'project')]
    mkdirSync(folder)
    await buildClient(root, built)
    const pack = (path: string): Promise<string> => packed(path, base)
    const [client, ...others] = await Promise.all([
      pack(built),
      ...dependencies.map((name) => pack(join(root, 'node_modules', name))),
    ])
    const overrides = Object.fromEntries(
      dependencies.map((name, index) => [name, `file:${others[index] ?? ''}`]),
    )
    const manifest = { private: true, dependencies: { '@fleetshard/client': `file:${client}` }, overrides }
    writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest))
    await npm(folder, 'install', '--offline', '--no-audit', '--no-fund', '--ignore-scripts')
    const list = await npm(folder, 'ls', '--all', '--parseable', '--long')
    cpSync(join(import.meta.dirname, 'consumer'), folder, { recursive: true })
    symlinkSync(join(root, 'node_modules/kysely'), join(folder, 'node_modules/kysely'))
    return {
      folder,
      package: built,
      packages: list
        .trim()
        .split('\n')
        .map((line) => line.split(':')[1] ?? '')
        .filter((name) => name.lastIndexOf('@') > 0),
      [Symbol.dispose]() {
        rmSync(base, { recursive: true, force: true })
      },
    }
  } catch (error) {
    rmSync(base, { recursive: true, force: true })
    throw error
  }
}

/** Every major version of Node at hand: the one that runs this, and the one of the machine. */
export async function nodes(): Promise<ReadonlyMap<string, string>> {
  const path = (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((each) => !each.includes('node_modules'))
    .join(delimiter)
  const print = ['-p', 'JSON.stringify([process.versions.node, process.execPath])']
  const found = new Map<string, string>()
  for (const program of [process.execPath, 'node']) {
    const answer = await run(program, print, { env: { PATH: path } }).catch(() => null)
    if (answer === null) continue
    const [version, file] = JSON.parse(answer.stdout) as [string, string]
    found.set(version.split('.')[0] ?? version, file)
  }
  return found
}

/** What a program of the project prints, as JSON. */
export async function output(node: string, project: Installed, words: readonly string[]): Promise<unknown> {
  const { stdout } = await run(node, [...words], { cwd: project.folder, env: {} })
  return JSON.parse(stdout)
}

async function packed(folder: string, destination: string): Promise<string> {
  const words = ['pack', folder, '--json', '--ignore-scripts', '--pack-destination', destination]
  const answer: unknown = JSON.parse(await npm(destination, ...words))
  const [first] = Array.isArray(answer) ? (answer as { filename?: string }[]) : []
  if (first?.filename === undefined) throw new Error(`npm packed nothing of ${folder}`)
  return join(destination, first.filename)
}

/** Without the words of the npm that may run the tests. */
async function npm(cwd: string, ...words: readonly string[]): Promise<string> {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_)/.test(name)))
  return (await run('npm', [...words], { cwd, env })).stdout
}
