import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { lockDataDir, type DataDirLock } from './lock.ts'
import { identifyProcess } from './proc.ts'
import { makeTestFolder } from './testing.ts'

let folder = ''
beforeEach(async () => {
  folder = await makeTestFolder()
})
afterEach(async () => {
  await rm(folder, { recursive: true })
})

describe('lock of a data directory', () => {
  test('of many at once exactly one gets it', async () => {
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => lockDataDir(folder)))
    const refused = results.filter((result) => result.status === 'rejected')
    expect(refused).toHaveLength(19)
    for (const { reason } of refused) expect(reason).toMatchObject({ code: 'data_dir_in_use' })
  })

  test('names the holder, and is free again once released', async () => {
    const lock = await lockDataDir(folder)
    await expect(lockDataDir(folder)).rejects.toMatchObject({ facts: { pid: process.pid } })
    await lock[Symbol.asyncDispose]()
    await (await lockDataDir(folder))[Symbol.asyncDispose]()
  })

  test('of a killed process is taken over, by one only', async () => {
    const child = spawn('sleep', ['1000'])
    await lockDataDir(folder, child.pid)
    child.kill('SIGKILL')
    await once(child, 'exit')
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => lockDataDir(folder)))
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1)
  })

  test('of a process whose pid was given again is taken over', async () => {
    const holder = { pid: process.pid, started: 'long ago' }
    await writeFile(join(folder, 'agent.lock.7'), JSON.stringify(holder))
    const lock = await lockDataDir(folder)
    expect(lock.path).toBe(join(folder, 'agent.lock.8'))
    expect(await readdir(folder)).toEqual(['agent.lock.8'])
  })

  test('is held by one at a time through many hand-overs', async () => {
    let holders = 0
    let most = 0
    const take = async (): Promise<void> => {
      for (let won = 0; won < 3;) {
        const lock: DataDirLock | null = await lockDataDir(folder).catch(() => null)
        if (lock === null) continue
        most = Math.max(most, ++holders)
        await identifyProcess(process.pid) // some real work while holding it
        holders -= 1
        await lock[Symbol.asyncDispose]()
        won += 1
      }
    }
    await Promise.all([take(), take(), take(), take()])
    expect(most).toBe(1)
  })
})
