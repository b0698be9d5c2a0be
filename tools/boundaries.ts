// `npm run check:boundaries`: fails when a file imports what its folder may not. Rules: tools/boundaries.json.
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { checkBoundaries, countSources } from './boundaries/check.ts'

const root = resolve(process.argv[2] ?? dirname(dirname(fileURLToPath(import.meta.url))))
const violations = checkBoundaries(root)
for (const { file, line, message } of violations)
  process.stdout.write(`${file}:${String(line)}: ${message}\n`)
const sources = countSources(root)
process.stderr.write(`${String(sources)} files, ${String(violations.length)} broken boundaries\n`)
process.exitCode = violations.length > 0 || sources === 0 ? 1 : 0
