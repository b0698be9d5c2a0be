#!/usr/bin/env node
// The launcher: starts FleetShard on a Node that can run it. Plain JavaScript for old versions of Node.
// On Node 24 and newer it runs in this process. On an older one it runs itself again with the Node that came with
// the packages (node_modules/.bin/node), passes signals on and ends with the same code.
import { spawn } from 'node:child_process'
import { existsSync, realpathSync } from 'node:fs'
import module from 'node:module'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** The oldest that runs the sources as they are: types and `using` declarations. */
const OLDEST_MAJOR = 24
/** Holds the process id of a launcher that started this one, so that it never starts a third. */
const STARTED_BY = '_FLEETSHARD_LAUNCHER'
const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2']

/** Commands that run until they are stopped. */
const SERVERS = new Set(['router', 'manager', 'worker', 'agent'])
/**
 * Room for objects that live for one request, MiB. Of the 16 that Node takes by itself a router under load made 130 MB
 * more of resident memory.
 */
const YOUNG_MIB = 4
const YOUNG_FLAG = '--max-semi-space-size'

const self = realpathSync(fileURLToPath(import.meta.url))
const [major = 0] = process.versions.node.split('.').map(Number)
const canRun = major >= OLDEST_MAJOR
const startedByLauncher = process.env[STARTED_BY] === String(process.ppid)
delete process.env[STARTED_BY]

const newer = canRun || startedByLauncher ? null : findNode(dirname(self))
if (newer !== null) runWith(newer)
else if (canRun) {
  becomeSmall()
  const modules = findModules(dirname(self))
  if (modules !== null) {
    keepCompiled(modules)
    takeBundles(modules)
  }
  await import('../src/main.ts')
} else refuse()

/**
 * The Node of the packages, from the nearest node_modules upwards; null when there is none.
 * @param {string} start
 * @returns {string | null}
 */
function findNode(start) {
  for (let folder = start; ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', '.bin', 'node')
    if (existsSync(candidate) && realpathSync(candidate) !== realpathSync(process.execPath)) return candidate
    if (dirname(folder) === folder) return null
  }
}

/**
 * The flags of a server that is about to run, unless somebody chose them.
 * @returns {string[]}
 */
function serverFlags() {
  const chosen = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].some((text) =>
    text.includes(YOUNG_FLAG),
  )
  const isServer = process.argv.slice(2).some((word) => SERVERS.has(word))
  return isServer && !chosen ? [`${YOUNG_FLAG}=${YOUNG_MIB}`] : []
}

/** Begins a server anew in this very process, with its flags: they count from the start of a process only. */
function becomeSmall() {
  const flags = serverFlags()
  if (flags.length === 0 || process.channel || process.platform === 'win32' || !process.execve) return
  process.execve(process.execPath, [
    process.execPath,
    ...flags,
    ...process.execArgv,
    self,
    ...process.argv.slice(2),
  ])
}

/**
 * Keeps what was compiled beside the packages: the next start is faster, and a process that need not strip types takes
 * some 25 MB less. Where the folder cannot be written nothing is kept.
 * @param {string} modules
 */
function keepCompiled(modules) {
  module.enableCompileCache?.(join(modules, '.cache', 'fleetshard'))
}

/**
 * TypeBox comes as 680 modules. Where `npm ci` made a handful of them (tools/bundle-dependencies.js), those are loaded:
 * 30 MB and a third of a second less for every process.
 * @param {string} modules
 */
function takeBundles(modules) {
  const folder = join(modules, '.cache', 'fleetshard-bundles')
  if (!module.registerHooks || !existsSync(folder)) return
  module.registerHooks({
    resolve(specifier, context, next) {
      const file = specifier.startsWith('typebox') ? join(folder, `${specifier}.mjs`) : ''
      if (!existsSync(file)) return next(specifier, context)
      return { url: pathToFileURL(file).href, format: 'module', shortCircuit: true }
    },
  })
}

/**
 * The nearest node_modules upwards; null when there is none.
 * @param {string} start
 * @returns {string | null}
 */
function findModules(start) {
  for (let folder = start; ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules')
    if (existsSync(candidate)) return candidate
    if (dirname(folder) === folder) return null
  }
}

/** @param {string} node */
function runWith(node) {
  // Before the child begins: a signal that comes in between would end the launcher and leave the child alone.
  for (const signal of FORWARDED) process.on(signal, () => child.kill(signal))
  const child = spawn(node, [...serverFlags(), ...process.execArgv, self, ...process.argv.slice(2)], {
    stdio: 'inherit',
    env: { ...process.env, [STARTED_BY]: String(process.pid) },
  })
  child.on('error', (error) => {
    fail(`${node} cannot be run: ${error.message}`)
  })
  child.on('exit', (code, signal) => {
    process.exit(code ?? 128 + (constants.signals[signal] ?? 0))
  })
}

function refuse() {
  fail(
    `FleetShard needs Node ${OLDEST_MAJOR} or newer, this is ${process.version}, and its packages are not installed`,
  )
}

/** @param {string} message */
function fail(message) {
  process.stderr.write(`error: ${message}\nhint: run npm ci\n`)
  process.exitCode = 1
}
