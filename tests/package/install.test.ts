// The package that is published: what is in it, what it needs, and that it works in a project that has nothing else,
// on every Node at hand, against a real router.
import { readdirSync, readFileSync } from 'node:fs'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import type { FleetShard } from '@fleetshard/client'
import { publint } from 'publint'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { startContext, startStaticContext } from '../client/context.ts'
import type { ConformanceContext } from '../client/conformance.ts'
import { topologyText } from '../client/static-fleet.ts'
import { root } from '../e2e/harness/paths.ts'
import { installClient, nodes, output, type Installed } from './installed.ts'

const packagesMax = 10
const available = await nodes()

let context: ConformanceContext & AsyncDisposable
let ofFile: ConformanceContext & AsyncDisposable
let project: Installed
beforeAll(async () => {
  project = await installClient()
  context = await startContext('http')
  ofFile = await startStaticContext()
})
afterAll(async () => {
  await ofFile[Symbol.asyncDispose]()
  await context[Symbol.asyncDispose]()
  project[Symbol.dispose]()
})

const filesIn = (folder: string): readonly string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()

it('holds what is needed and nothing of the server', () => {
  const files = filesIn(join(project.folder, 'node_modules/@fleetshard/client'))
  const kinds = files
    .filter((file) => file.includes('.'))
    .map((file) => file.replace(/^dist\/.*?(\.d\.ts|\.js)$/, 'dist/*$1'))
  expect([...new Set(kinds)].sort()).toEqual(['README.md', 'dist/*.d.ts', 'dist/*.js', 'package.json'])
  expect(files).toContain('LICENSE')
  for (const file of files.filter((each) => /\.(js|d\.ts)$/.test(each))) {
    const text = readFileSync(join(project.package, file), 'utf8')
    expect(text).not.toMatch(/from ["']@fleetshard|packages\/server|fastify|etcd3|commander|typebox/)
  }
})

it('brings few packages, none of which builds anything', () => {
  const names = project.packages.map((each) => each.slice(0, each.lastIndexOf('@')))
  expect(names).toContain('libpg-query')
  expect(names.length).toBeLessThanOrEqual(packagesMax)
  const native = filesIn(join(project.folder, 'node_modules')).filter((file) =>
    /\.node$|binding\.gyp$/.test(file),
  )
  expect(native).toEqual([])
})

it('has nothing that publint complains about', async () => {
  const { messages } = await publint({ pkgDir: project.package, strict: true, pack: false })
  expect(messages).toEqual([])
})

it.each(['nodenext', 'bundler'])('has types that resolve with %s', (resolution) => {
  const compiler = join(root, 'node_modules/typescript/bin/tsc')
  const options = {
    module: resolution === 'nodenext' ? 'nodenext' : 'esnext',
    moduleResolution: resolution,
    target: 'es2022',
    lib: 'es2023,esnext.disposable,dom',
    types: 'node',
    typeRoots: join(root, 'node_modules/@types'),
  }
  const words = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value])
  const { stdout, status } = spawnSync(
    process.execPath,
    [compiler, 'typed.ts', '--noEmit', '--strict', '--exactOptionalPropertyTypes', ...words],
    { cwd: project.folder, encoding: 'utf8' },
  )
  expect({ stdout, status }).toEqual({ stdout: '', status: 0 })
})

it.each([...available])('works on Node %s, imported and required', async (_major, node) => {
  const { url } = context.router
  const places = ofFile.router.snapshot().shards.map(({ nodes: [primary] }) => primary!)
  const databases = places.map(({ database }) => database)
  const connections = {
    http: { url, mode: 'http' },
    direct: { url, mode: 'direct', fallback: false },
    file: { topology: topologyText(databases, places[0]) },
  }
  const done = (db: FleetShard) => ({
    rows: [{ name: 'Packed', n: 0 }],
    streamed: [{ user_id: 'packed-1' }],
    built: [{ name: 'Packed' }],
    shard: db.shardFor('packed-1').shardId,
    error: { ours: true, sqlstate: '42703', outcome: 'aborted' },
  })
  const expected = {
    http: { mode: 'http', grammarLoaded: false, ...done(context.db) },
    direct: { mode: 'direct', grammarLoaded: true, ...done(context.db) },
    file: { mode: 'direct', grammarLoaded: true, ...done(ofFile.db) },
  }
  for (const program of ['imports.mjs', 'requires.cjs'])
    expect(await output(node, project, [program, JSON.stringify(connections)])).toEqual(expected)
})
