// The one program. Puts the command line and the roles together, and is the only place that ends the process.
import { readFileSync } from 'node:fs'
import process from 'node:process'
import { commandTable, EXIT, processTerminal, runCli, type RoleRunners } from './cli/mod.ts'
import { readEnvironment, stopSignals, systemClock } from './runtime/mod.ts'

/** Loaded when they are called, so that `fleetshard status` does not load a router. One line a role. */
const roles: RoleRunners = {
  up: async (context) => (await import('./roles/up.ts')).runUp(context),
  down: async (context) => (await import('./roles/down.ts')).runDown(context),
  quickstart: async (context) => (await import('./roles/quickstart.ts')).runQuickstart(context),
  demo: async (context) => (await import('./roles/demo.ts')).runDemo(context),
  doctor: async (context) => (await import('./roles/doctor.ts')).runDoctor(context),
  'support-bundle': async (context) => (await import('./roles/support-bundle.ts')).runSupportBundle(context),
  'certs init': async (context) => (await import('./roles/certs.ts')).runCertsInit(context),
  'certs issue': async (context) => (await import('./roles/certs.ts')).runCertsIssue(context),
  router: async (context) => (await import('./roles/router.ts')).runRouter(context),
  manager: async (context) => (await import('./roles/manager.ts')).runManager(context),
  worker: async (context) => (await import('./roles/worker.ts')).runWorker(context),
  agent: async (context) => (await import('./roles/agent.ts')).runAgent(context),
}

const terminal = processTerminal()
const signals = stopSignals(process, systemClock, {
  exit: (code) => {
    process.exit(code)
  },
})
const code = await runCli(commandTable(roles), process.argv.slice(2), {
  env: readEnvironment(),
  terminal,
  clock: systemClock,
  stop: signals.stop,
  forced: signals.forced,
  // Not loaded before it is called: most servers never do.
  fetch: (...asked) => globalThis.fetch(...asked),
  cwd: process.cwd(),
  version: versionOf(new URL('../package.json', import.meta.url)),
})
// What was written to a pipe must be out before the end; open sockets must not hold it up.
process.stdout.write('', () => {
  setImmediate(() =>
    process.stderr.write(lostOutput(), () => process.exit(lostOutput() === '' ? code : EXIT.failed)),
  )
})

/** What to say when results could not be written; a reader that went away (`| head`) wanted no more of them. */
function lostOutput(): string {
  const why = terminal.outError()
  return why === null || why === 'EPIPE' ? '' : `error: standard output cannot be written: ${why}\n`
}

function versionOf(packageFile: URL): string {
  const parsed: unknown = JSON.parse(readFileSync(packageFile, 'utf8'))
  const found =
    typeof parsed === 'object' && parsed !== null && 'version' in parsed ? parsed.version : undefined
  return typeof found === 'string' ? found : 'unknown'
}
