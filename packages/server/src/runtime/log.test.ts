import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { createLogging } from './log.ts'

const folder = mkdtempSync(join(tmpdir(), 'fleetshard-log-'))
afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

test('writes a JSON line with level, time and what its parents know', () => {
  const path = join(folder, 'lines')
  const { log } = createLogging('info', path)
  log.child({ role: 'worker' }).child({ job: 'j-1' }).info({ rows: 3 }, 'copied')
  log.debug('not written')
  const lines = readFileSync(path, 'utf8').trim().split('\n')
  expect(lines).toHaveLength(1)
  expect(JSON.parse(lines[0] ?? '')).toEqual({
    level: 'info',
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/) as string,
    role: 'worker',
    job: 'j-1',
    rows: 3,
    msg: 'copied',
  })
})

test('blots out keys that hold secrets, wherever they stand', () => {
  const path = join(folder, 'secrets')
  const { log } = createLogging('info', path)
  const secret = 'hunter2'
  log.info({ password: secret, target: { password: secret, node: { token: secret } } }, 'x')
  log.child({ authorization: secret }).info({ headers: { authorization: secret, cookie: secret } }, 'x')
  expect(readFileSync(path, 'utf8')).not.toContain(secret)
})

test('a logger follows the level however many were made and forgotten after it', () => {
  const logging = createLogging('info', '/dev/null')
  const { log } = logging
  const kept = log.child({ kept: true })
  for (let index = 0; index < 5_000; index += 1) log.child({ index })
  logging.setLevel('debug')
  expect(kept.isLevelEnabled('debug')).toBe(true)
})
