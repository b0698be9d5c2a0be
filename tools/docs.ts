// `npm run docs` writes the generated pages of docs/reference; with --check it only compares and fails when one is
// not what the code says.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cliPage } from './docs/cli.ts'
import { clientPage } from './docs/client.ts'
import { configurationPage } from './docs/configuration.ts'
import { errorsPage } from './docs/errors.ts'
import { eventsPage } from './docs/events.ts'
import { failoverPage } from './docs/failover.ts'
import { permissionsPage } from './docs/permissions.ts'
import { metricsPage } from './docs/metrics.ts'

const pages: Readonly<Record<string, () => string>> = {
  'configuration.md': configurationPage,
  'errors.md': errorsPage,
  'events.md': eventsPage,
  'failover-states.md': failoverPage,
  'permissions.md': permissionsPage,
  'metrics.md': metricsPage,
  'cli.md': cliPage,
  'client.md': () => clientPage(root),
}

const words = process.argv.slice(2)
const checkOnly = words.includes('--check')
const given = words.find((word) => !word.startsWith('--'))
const root = dirname(dirname(fileURLToPath(import.meta.url)))
const folder = resolve(given ?? join(root, 'docs/reference'))

for (const [name, make] of Object.entries(pages)) {
  const path = join(folder, name)
  const text = make()
  if (textAt(path) === text) continue
  if (checkOnly) {
    process.stderr.write(`docs/reference/${name} is not what the code says; run: npm run docs\n`)
    process.exitCode = 1
  } else {
    mkdirSync(folder, { recursive: true })
    writeFileSync(path, text)
    process.stderr.write(`wrote docs/reference/${name}\n`)
  }
}

function textAt(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}
