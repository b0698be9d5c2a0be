// `npm run build:client`: the package @fleetshard/client as it is published. `npm pack` in that folder makes the tarball.
import { dirname, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildClient, packageFolder } from './client/package.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
await buildClient(root)
process.stderr.write(`built ${relative(process.cwd(), packageFolder(root))}\n`)
