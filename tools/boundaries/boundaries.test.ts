// A checkout in a temporary folder, clean but for one planted import: each kind must be found.
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { checkBoundaries } from './check.ts'
import { modulesUsed } from './imports.ts'

const here = dirname(dirname(fileURLToPath(import.meta.url)))
let root = ''

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'fleetshard-boundaries-'))
  mkdirSync(join(root, 'tools'))
  copyFileSync(join(here, 'boundaries.json'), join(root, 'tools/boundaries.json'))
  write(
    'packages/core/package.json',
    '{"exports": {".": "./src/mod.ts", "./contract": "./src/contract/mod.ts"}}',
  )
  write('packages/client/package.json', '{"exports": {"./admin": "./src/admin/mod.ts"}}')
  write(
    'packages/server/src/data-plane/router/ok.ts',
    `import { x } from '@fleetshard/core'
     import type { y } from '@fleetshard/core/contract'
     import { z } from '../../catalog/router-port.ts'
     import { log } from '../../runtime/mod.ts'
     import './own.ts'
     import { readFile } from 'node:fs/promises'
     export * from '../../runtime/mod.ts'
     const asset = new URL('./worker.ts', import.meta.url)`,
  )
})
afterEach(() => {
  rmSync(root, { recursive: true, force: true })
})

function write(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), text)
}

/** What is said of a file with that text, without the place. */
function said(path: string, text: string): readonly string[] {
  write(path, text)
  return checkBoundaries(root).map(({ message }) => message)
}

const router = 'packages/server/src/data-plane/router/bad.ts'

test('a clean checkout has nothing to complain about', () => {
  expect(checkBoundaries(root)).toEqual([])
})

describe('a forbidden arrow is found', () => {
  test.each([
    ['a static import', "import { a } from '../../control-plane/manager/mod.ts'"],
    ['a type-only import', "import type { A } from '../../control-plane/manager/mod.ts'"],
    ['a type within an import', "import { type A } from '../../control-plane/manager/mod.ts'"],
    ['a side-effect import', "import '../../control-plane/manager/mod.ts'"],
    ['a re-export of names', "export { a } from '../../control-plane/manager/mod.ts'"],
    ['a re-export of all', "export * from '../../control-plane/manager/mod.ts'"],
    ['a dynamic import', "const a = await import('../../control-plane/manager/mod.ts')"],
    ['a dynamic import by template', 'const a = await import(`../../control-plane/manager/mod.ts`)'],
    ['an import type', "type A = import('../../control-plane/manager/mod.ts').A"],
    ['a typeof import', "let a: typeof import('../../control-plane/manager/mod.ts')"],
    ['a worker', "new Worker(new URL('../../control-plane/manager/mod.ts', import.meta.url))"],
    ['a resolved path', "import.meta.resolve('../../control-plane/manager/mod.ts')"],
    ['a require', "require('../../control-plane/manager/mod.ts')"],
  ])('%s', (_name, text) => {
    const messages = said(router, text)
    expect(messages).toHaveLength(1)
    expect(messages[0]).toContain(
      'data-plane/router may not import control-plane/manager/mod.ts — router and manager',
    )
  })

  test('but not in comments and texts', () => {
    const text = `// import '../../control-plane/manager/mod.ts'
      /* import('../../control-plane/manager/mod.ts') */
      const a = "import x from '../../control-plane/manager/mod.ts'"`
    expect(said(router, text)).toEqual([])
  })

  test('a computed import cannot be checked, so it is refused', () => {
    expect(said(router, 'await import(name)')).toEqual([
      'a computed import cannot be checked — write the path out',
    ])
  })
})

describe('rooms', () => {
  const rooms: readonly (readonly [string, string, string])[] = [
    [
      'control-plane/manager/a.ts',
      '../../data-plane/router/mod.ts',
      'router and manager meet in the catalog',
    ],
    ['workers/reshard/a.ts', '../schema/mod.ts', 'workers meet in the catalog'],
    ['runtime/a.ts', '../roles/mod.ts', 'roles wire the parts together'],
    ['cli/a.ts', '../roles/up.ts', 'roles wire the parts together'],
    ['cli/a.ts', '../main.ts', 'nothing imports the program itself'],
    ['data-plane/router/a.ts', '../../catalog/mod.ts', 'catalog/router-port.ts'],
    ['data-plane/router/a.ts', '../../catalog/catalog.ts', 'catalog/router-port.ts'],
    ['runtime/a.ts', '../security/mod.ts', 'its arrows: @fleetshard/core'],
    ['engine/a.ts', '../catalog/mod.ts', 'may not import catalog/mod.ts'],
    ['security/a.ts', '../catalog/mod.ts', 'may not import catalog/mod.ts'],
    ['agent/a.ts', '../local/mod.ts', 'may not import local/mod.ts'],
    ['catalog/a.ts', '../runtime/clock.ts', 'import runtime/mod.ts, the face of the folder'],
    ['novelty/a.ts', '../runtime/mod.ts', 'novelty/a.ts is in no folder of tools/boundaries.json'],
    ['runtime/a.ts', '../helper.ts', 'helper.ts is in no folder of tools/boundaries.json'],
  ]
  test.each(rooms)('%s may not import %s', (file, specifier, reason) => {
    const messages = said(`packages/server/src/${file}`, `import '${specifier}'`)
    expect(messages).toHaveLength(1)
    expect(messages[0]).toContain(reason)
  })

  test.each([
    ['workers/schema/a.ts', '../worker.ts'],
    ['workers/schema/deep/a.ts', '../b.ts'],
    ['control-plane/manager/a.ts', '../health/mod.ts'],
    ['control-plane/manager/a.ts', '../../runtime/http/mod.ts'],
    ['roles/up.ts', '../data-plane/router/mod.ts'],
    ['main.ts', './roles/up.ts'],
    ['local/testing.ts', '../agent/testing.ts'],
    ['catalog/backends/etcd/a.ts', '../../store.ts'],
  ])('%s may import %s', (file, specifier) => {
    expect(said(`packages/server/src/${file}`, `import '${specifier}'`)).toEqual([])
  })

  test('tests may look behind faces and start the local cluster, but follow the arrows otherwise', () => {
    const file = 'packages/server/src/catalog/a.pg.test.ts'
    expect(
      said(file, "import '../runtime/clock.ts'\nimport '../local/testing.ts'\nimport 'node:fs'"),
    ).toEqual([])
    expect(said(file, "import '../agent/mod.ts'")).toHaveLength(1)
    expect(said(file, "import '@fleetshard/client/admin'")).toEqual([])
  })

  test('a room may not import a package that is no arrow of its', () => {
    const messages = said('packages/server/src/runtime/a.ts', "import '@fleetshard/client/admin'")
    expect(messages).toEqual(['runtime may not import @fleetshard/client — its arrows: @fleetshard/core'])
    rmSync(join(root, 'packages/server/src/runtime/a.ts'))
    expect(said('packages/server/src/cli/a.ts', "import '@fleetshard/client/admin'")).toEqual([])
  })
})

describe('packages', () => {
  test.each([
    [
      'packages/core/src/a.ts',
      "import 'node:fs'",
      'packages/core may not import node:fs — it runs in browsers',
    ],
    [
      'packages/core/src/a.ts',
      "import 'crypto'",
      'packages/core may not import crypto — it runs in browsers',
    ],
    ['packages/client/src/a.ts', "import type { B } from 'node:buffer'", 'it runs in browsers'],
    [
      'packages/core/src/a.ts',
      "import '@fleetshard/client/admin'",
      'packages/core may not import @fleetshard/client',
    ],
    [
      'packages/client/src/a.ts',
      "import '../../core/src/mod.ts'",
      'between packages, import by package name',
    ],
    [
      'packages/client/src/a.ts',
      "import '@fleetshard/core/src/ids.ts'",
      '@fleetshard/core exports ., ./contract',
    ],
    ['packages/core/src/a.ts', "import '../../../tools/docs.ts'", 'it lies outside the package'],
    ['bench/a.ts', "import '../packages/core/src/ids.ts'", 'import the package by its name'],
    ['tools/a.ts', "import '../packages/server/src/cli/run.ts'", 'import cli/mod.ts, the face of the folder'],
  ])('%s: %s', (file, text, reason) => {
    const messages = said(file, text)
    expect(messages).toHaveLength(1)
    expect(messages[0]).toContain(reason)
  })

  test('tests of browser-safe packages run on Node', () => {
    expect(said('packages/core/src/a.test.ts', "import 'node:fs'")).toEqual([])
  })

  test('a folder for Node alone may use Node and what the package may not', () => {
    write('packages/routing/package.json', '{"exports": {"./wire": "./src/wire/mod.ts"}}')
    const text = "import 'node:net'\nimport '@fleetshard/routing/wire'"
    expect(said('packages/client/src/direct/a.ts', text)).toEqual([])
    expect(said('packages/client/src/a.ts', text)).toEqual([
      'packages/client may not import node:net — it runs in browsers',
      'packages/client may not import @fleetshard/routing — its arrows: @fleetshard/core',
    ])
  })

  test('what lies outside may import packages by name and the faces of the server', () => {
    const text = "import '@fleetshard/core'\nimport '../packages/server/src/cli/mod.ts'\nimport './x.ts'"
    expect(said('tools/a.ts', text)).toEqual([])
  })

  test('examples may import what others install, and nothing else of ours', () => {
    expect(said('examples/a/main.ts', "import '@fleetshard/client/admin'\nimport 'node:test'")).toEqual([])
    const messages = said('examples/a/main.ts', "import '@fleetshard/core'")
    expect(messages).toHaveLength(1)
    expect(messages[0]).toContain('examples may not import @fleetshard/core')
  })
})

test('a module is confined to its folders', () => {
  const plan = 'packages/routing/src/plan/'
  expect(said(`${plan}postgres/parse.ts`, "import { parse } from 'libpg-query'")).toEqual([])
  const messages = said(`${plan}cache.ts`, "const { parse } = await import('libpg-query')")
  expect(messages).toHaveLength(1)
  expect(messages[0]).toContain('may import libpg-query only in packages/routing/src/plan/postgres')
})

test('lines are those of the source', () => {
  const uses = modulesUsed('a.ts', "\n\nimport 'a'\nconst x = `\n\n`\nexport * from 'b'\n")
  expect(uses.map(({ specifier, line }) => [specifier, line])).toEqual([
    ['a', 3],
    ['b', 7],
  ])
})

test('a source that cannot be parsed is an error, not a pass', () => {
  write(router, 'import { from')
  expect(() => checkBoundaries(root)).toThrow('bad.ts cannot be parsed')
})

test('the command prints the place and exits with 1', () => {
  write(router, "\nimport '../../roles/up.ts'")
  const run = () => spawnSync(process.execPath, [join(here, 'boundaries.ts'), root], { encoding: 'utf8' })
  const broken = run()
  expect([broken.status, broken.stdout]).toEqual([
    1,
    expect.stringMatching(
      /^packages\/server\/src\/data-plane\/router\/bad\.ts:2: data-plane\/router may not import roles\/up\.ts — /,
    ),
  ])
  rmSync(join(root, router))
  expect(run().status).toBe(0)
  rmSync(join(root, 'packages'), { recursive: true })
  expect(run().status).toBe(1)
})
