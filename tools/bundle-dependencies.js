// Runs after `npm ci`: makes few modules of the packages that come as hundreds. A process that loads TypeBox as 680
// modules takes 30 MB and a third of a second more than one that loads it as a handful. The launcher takes them where
// they are; without them (no esbuild, a folder that cannot be written) everything works all the same.
// Plain JavaScript: any version of Node may be the one that installs.
import { rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

/** Entries of TypeBox that the sources import; the names of the files are their paths. */
const ENTRIES = ['typebox', 'typebox/compile', 'typebox/value']

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const folder = join(root, 'node_modules', '.cache', 'fleetshard-bundles')

try {
  const { build } = await import('esbuild')
  await rm(folder, { recursive: true, force: true })
  await build({
    entryPoints: Object.fromEntries(ENTRIES.map((entry) => [entry, entry])),
    absWorkingDir: dirname(createRequire(import.meta.url).resolve('../packages/core/package.json')),
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true, // what the entries share exists once
    format: 'esm',
    platform: 'node',
    target: 'node24',
    legalComments: 'inline',
    logLevel: 'silent',
  })
} catch (error) {
  process.stderr.write(`dependencies are left as they are: ${String(error)}\n`)
}
