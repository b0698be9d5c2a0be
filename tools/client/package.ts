// The package that is published: one folder with JavaScript for Node 20 and later, flat declarations, a manifest.
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { Type } from 'typebox'
import { Value } from 'typebox/value'
import { declarationFile, flatten, type Flat } from './flatten.ts'

/** Entry of the package → its source below packages/client/src. The admin client is for the command line only. */
const entries = { mod: 'mod', kysely: 'kysely/mod' } as const

/** The oldest Node that it runs on, as esbuild and npm write it; the first where `require` takes ES modules. */
const target = 'node20.19'
const engines = '>=20.19.0'

const Manifest = Type.Object({
  name: Type.String(),
  version: Type.String(),
  description: Type.String(),
  license: Type.String(),
  peerDependencies: Type.Optional(Type.Record(Type.String(), Type.String())),
  peerDependenciesMeta: Type.Optional(Type.Record(Type.String(), Type.Object({ optional: Type.Boolean() }))),
})
const RoutingManifest = Type.Object({
  dependencies: Type.Object({ 'libpg-query': Type.String() }),
})

/** Where the package lies once it is built. */
export const packageFolder = (root: string): string => join(root, 'packages/client/.build/package')

/**
 * Builds it anew.
 * @throws Error when a source cannot be compiled, or needs a package that those who install the client do not get
 */
export async function buildClient(root: string, folder = packageFolder(root)): Promise<void> {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(join(folder, 'dist'), { recursive: true })
  await bundle(root, folder)
  const { client, kysely } = flatClient(root)
  writeFileSync(join(folder, 'dist/mod.d.ts'), declarationFile(client))
  writeFileSync(join(folder, 'dist/kysely.d.ts'), declarationFile(kysely))
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest(root), null, 2)}\n`)
  copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'))
  copyFileSync(join(root, 'packages/client/README.md'), join(folder, 'README.md'))
}

/** The declarations of both entries; what the second takes from the first it imports from there. */
export function flatClient(root: string): { readonly client: Flat; readonly kysely: Flat } {
  compileTypes(root)
  const types = (name: string, file: string): string => join(root, 'packages', name, '.build/types', file)
  const packages = new Map([['@fleetshard/core', types('core', 'mod.d.ts')]])
  const client = flatten(types('client', `${entries.mod}.d.ts`), packages)
  const shared = client.declarations
    .filter(({ exported }) => exported)
    .map(({ name }) => [name, './mod.js'] as const)
  return { client, kysely: flatten(types('client', `${entries.kysely}.d.ts`), packages, new Map(shared)) }
}

async function bundle(root: string, folder: string): Promise<void> {
  const source = join(root, 'packages/client/src')
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: Object.entries(entries).map(([out, file]) => ({ in: join(source, `${file}.ts`), out })),
    outdir: join(folder, 'dist'),
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'neutral',
    target,
    external: ['node:*', 'libpg-query', 'kysely', '@opentelemetry/api'],
    inject: [join(root, 'tools/client/shim.ts')],
    define: { 'Promise.withResolvers': 'withResolvers', 'Map.groupBy': 'mapGroupBy' },
    keepNames: true,
    metafile: true,
    logLevel: 'error',
    chunkNames: '[name]-[hash]',
  })
  const allowed = [
    'packages/client/src/',
    'packages/core/src/',
    'packages/routing/src/',
    'tools/client/shim.ts',
  ]
  const others = Object.keys(metafile.inputs).filter((path) => !allowed.some((each) => path.startsWith(each)))
  if (others.length > 0) throw new Error(`the client may not contain ${others.join(', ')}`)
}

function compileTypes(root: string): void {
  const compiler = join(root, 'node_modules/typescript/bin/tsc')
  const { status, stdout } = spawnSync(process.execPath, [compiler, '-b', join(root, 'packages/client')], {
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`the client's types do not compile:\n${stdout}`)
}

function manifest(root: string): object {
  const { name, version, description, license, peerDependencies, peerDependenciesMeta } = Value.Parse(
    Manifest,
    readJson(join(root, 'packages/client/package.json')),
  )
  const routing = Value.Parse(RoutingManifest, readJson(join(root, 'packages/routing/package.json')))
  const entry = (file: string) => ({ types: `./dist/${file}.d.ts`, default: `./dist/${file}.js` })
  return {
    name,
    version,
    description,
    keywords: ['postgres', 'postgresql', 'sharding', 'fleetshard', 'kysely'],
    license,
    type: 'module',
    sideEffects: false,
    exports: { '.': entry('mod'), './kysely': entry('kysely'), './package.json': './package.json' },
    types: './dist/mod.d.ts',
    files: ['dist'],
    dependencies: { 'libpg-query': routing.dependencies['libpg-query'] },
    peerDependencies,
    peerDependenciesMeta,
    engines: { node: engines },
  }
}

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, 'utf8'))
}
