import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdir, rm } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { FleetError } from '@fleetshard/core'
import type { ServerStatus } from './model.ts'
import { assertReachable, lineage, mayUse, resolveServerUser, type ServerUser } from './os-user.ts'
import { makeTestFolder, openTestAgent } from './testing.ts'

const isRoot = process.getuid?.() === 0
const nobody: ServerUser = { name: 'nobody', uid: 65_534, gid: 65_534, switched: true }

let folder = ''
beforeEach(async () => {
  folder = await makeTestFolder()
})
afterEach(async () => {
  await rm(folder, { recursive: true })
})

test('a data directory that the server user cannot reach is refused, with the folder in the way', async () => {
  const closed = join(folder, 'closed')
  await mkdir(closed, { mode: isRoot ? 0o700 : 0o000 })
  const opening = openTestAgent(join(closed, 'below', 'data'))
  const refused = (await opening.catch((error: unknown) => error)) as FleetError
  expect(refused.code).toBe('data_dir_unusable')
  expect(refused.hint).toContain(closed)
  expect(refused.message).toContain(`may not enter ${closed}`)
  await chmod(closed, 0o755)
  await assertReachable(join(closed, 'below', 'data'), resolveServerUser())
})

test('a path in the way that is a file is refused too', async () => {
  await expect(openTestAgent('/dev/null/data')).rejects.toMatchObject({ code: 'data_dir_unusable' })
})

/** The agent needs Node and the checkout, which a plain user cannot always read. */
async function canRunHere(user: ServerUser): Promise<boolean> {
  for (const path of [process.execPath, import.meta.dirname]) {
    for (const step of lineage(path)) if (!(await mayUse(step, user, 'x'))) return false
  }
  return true
}

// As a plain user the other tests are this test; where `nobody` can't read the checkout it can't be run.
test.runIf(isRoot && (await canRunHere(nobody)))(
  'an agent of a plain user runs its servers as itself',
  async () => {
    await chown(folder, nobody.uid, nobody.gid)
    const script = new URL('supervise-fixture.ts', import.meta.url).pathname
    const child = spawn(process.execPath, [script, folder, 'yes'], {
      uid: nobody.uid,
      gid: nobody.gid,
      cwd: '/',
      env: {},
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
    const server = JSON.parse(line) as ServerStatus
    expect(server).toMatchObject({ state: 'running' })
    child.stdin.end()
    expect(await once(child, 'exit')).toEqual([0, null])
  },
)
