import { execFile } from 'node:child_process'
import { chmod, cp, mkdir, readFile, readdir, readlink, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { resolveBinaries } from './binaries.ts'
import { findEmbeddedPackage, prepareEmbedded, type EmbeddedPackage } from './embedded-package.ts'
import { asUser, mayUse, resolveServerUser } from './os-user.ts'
import { makeTestFolder } from './testing.ts'

const run = promisify(execFile)
const user = resolveServerUser()
const links = ['libpq.so.5', 'libicuuc.so.60', 'libicui18n.so.60', 'libicudata.so.60']

let folder = ''
beforeEach(async () => {
  folder = await makeTestFolder()
})
afterEach(async () => {
  await rm(folder, { recursive: true })
})

const version = async (bin: string): Promise<string> =>
  (await run(join(bin, 'postgres'), ['--version'], { cwd: '/', env: {}, ...asUser(user) })).stdout

describe.runIf(process.platform === 'linux')('the embedded package', () => {
  let copy: EmbeddedPackage
  beforeEach(async () => {
    const found = await findEmbeddedPackage()
    if (found === null) throw new Error('the embedded package is not installed; run npm ci')
    copy = { root: join(folder, 'package'), version: found.version }
    await cp(found.root, copy.root, { recursive: true, verbatimSymlinks: true })
  })

  async function removeLinks(): Promise<void> {
    const lib = join(copy.root, 'native', 'lib')
    for (const entry of await readdir(lib, { withFileTypes: true })) {
      if (entry.isSymbolicLink()) await unlink(join(lib, entry.name))
    }
  }

  test('gets the links between its libraries that its install script would have made', async () => {
    await removeLinks()
    await expect(version(join(copy.root, 'native', 'bin'))).rejects.toThrow()
    const bin = await prepareEmbedded(copy, { user, cacheDirs: [] })
    expect(bin).toBe(join(copy.root, 'native', 'bin'))
    for (const link of links) expect(await readlink(join(copy.root, 'native', 'lib', link))).toMatch(/^lib/)
    expect(await version(bin)).toContain('(PostgreSQL) 18')
  })

  test('is copied to where the server user can read it when it lies out of his reach', async () => {
    await removeLinks()
    await chmod(copy.root, user.switched ? 0o700 : 0o500)
    if (!user.switched) await chmod(join(copy.root, 'native', 'lib'), 0o500)
    const cache = join(folder, 'cache')
    const options = { user, cacheDirs: [cache] }
    const bins = await Promise.all([1, 2, 3].map(() => prepareEmbedded(copy, options)))
    await chmod(join(copy.root, 'native', 'lib'), 0o700)
    await chmod(copy.root, 0o700)
    expect(new Set(bins).size).toBe(1)
    expect(bins[0]?.startsWith(cache)).toBe(true)
    expect(await version(bins[0] ?? '')).toContain('(PostgreSQL) 18')
    expect(await readdir(cache)).toHaveLength(1)
    expect((await stat(cache)).mode & 0o777).toBe(0o755)
  })

  test.runIf(user.switched)('is copied, not linked, where its files are for their owner only', async () => {
    const program = join(copy.root, 'native', 'bin', 'postgres')
    await chmod(program, 0o700)
    const bin = await prepareEmbedded(copy, { user, cacheDirs: [join(folder, 'cache')] })
    expect(await mayUse(join(bin, 'postgres'), user, 'rx')).toBe(true)
    expect((await stat(program)).mode & 0o777).toBe(0o700)
    expect((await stat(join(bin, 'initdb'))).ino).toBe(
      (await stat(join(copy.root, 'native', 'bin', 'initdb'))).ino,
    )
  })
})

describe('the search for programs', () => {
  const none = { user, cacheDirs: [], embedded: null, path: '' }

  /** A folder with programs that only tell a version. */
  async function fake(name: string, text: string): Promise<string> {
    const bin = join(folder, name)
    await mkdir(bin)
    for (const program of ['initdb', 'postgres']) {
      await writeFile(join(bin, program), `#!/bin/sh\necho "${program} ${text}"\n`)
      await chmod(join(bin, program), 0o755)
    }
    await chmod(bin, 0o755)
    return bin
  }

  test('takes a folder that was named before everything else, the flag before the variable', async () => {
    const [flag, variable] = [
      await fake('flag', '(PostgreSQL) 17.2'),
      await fake('variable', '(PostgreSQL) 16.1'),
    ]
    expect(await resolveBinaries({ ...none, explicit: flag, environment: variable })).toMatchObject({
      source: 'explicit',
      version: '17.2',
      major: 17,
    })
    expect(await resolveBinaries({ ...none, environment: variable })).toMatchObject({ source: 'environment' })
  })

  test('never passes over a folder that was named', async () => {
    const path = await fake('path', '(PostgreSQL) 17.2')
    await expect(resolveBinaries({ ...none, path, explicit: join(folder, 'nothing') })).rejects.toMatchObject(
      {
        code: 'postgres_missing',
      },
    )
    const old = await fake('old', '(PostgreSQL) 13.9')
    await expect(resolveBinaries({ ...none, path, explicit: old })).rejects.toMatchObject({
      code: 'postgres_version',
    })
  })

  test('finds programs of the major that made the data, and says which it found when there are none', async () => {
    const path = await fake('path', '(PostgreSQL) 17.2 (Debian 17.2-1)')
    expect(await resolveBinaries({ ...none, path, major: 17 })).toMatchObject({
      source: 'local',
      version: '17.2',
    })
    await expect(resolveBinaries({ ...none, explicit: path, major: 16 })).rejects.toThrow(
      /made by PostgreSQL 16, but .* is 17\.2/,
    )
  })

  test('refuses programs that are something else', async () => {
    const explicit = await fake('odd', 'hello')
    await expect(resolveBinaries({ ...none, explicit })).rejects.toMatchObject({ code: 'postgres_missing' })
    expect(await readFile(join(explicit, 'postgres'), 'utf8')).toContain('hello')
  })
})
