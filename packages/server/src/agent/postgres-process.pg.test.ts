import { pbkdf2 } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../runtime/mod.ts'
import { agentLayout, serverLayout } from './layout.ts'
import { startPostgres } from './postgres-process.ts'
import { makeTestFolder } from './testing.ts'

let folder = ''
beforeEach(async () => {
  folder = await makeTestFolder()
})
afterEach(async () => {
  await rm(folder, { recursive: true })
})

/** Keeps the threads of Node busy that files are opened and closed on; ended when disposed of. */
function busyThreads(): Disposable {
  let stop = false
  const work = (): void => {
    if (!stop) pbkdf2('', '', 20_000, 64, 'sha512', work)
  }
  for (let jobs = 0; jobs < 12; jobs += 1) work()
  return {
    [Symbol.dispose]() {
      stop = true
    },
  }
}

test('a server that ends before anybody has looked at it is told, however busy this process is', async () => {
  const layout = serverLayout(agentLayout(folder), 'a')
  await mkdir(layout.pgData, { recursive: true })
  const program = ['/bin/false', '/usr/bin/false'].find((path) => existsSync(path)) ?? ''
  using _ = busyThreads()
  const started = startPostgres({
    binaries: { initdb: program, postgres: program, source: 'explicit', version: '18.0', major: 18 },
    layout: { ...layout, logFile: join(folder, 'log') },
    user: { name: '', uid: -1, gid: -1, switched: false },
    clock: systemClock,
    dieWithParent: false,
  })
  await expect(started).rejects.toMatchObject({ code: 'postgres_failed' })
})
