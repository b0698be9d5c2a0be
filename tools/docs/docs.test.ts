import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ERRORS } from '@fleetshard/core'
import { expect, test } from 'vitest'
import { CONFIG_KEYS, envOf, flagOf, settingOf } from '../../packages/server/src/runtime/mod.ts'
import { cliPage } from './cli.ts'
import { clientPage } from './client.ts'
import { configurationPage } from './configuration.ts'
import { errorsPage } from './errors.ts'

const script = join(dirname(dirname(fileURLToPath(import.meta.url))), 'docs.ts')

test('the configuration page has every setting with its flag and variable', () => {
  const page = configurationPage()
  for (const key of CONFIG_KEYS) {
    expect(page).toContain(`### \`${key}\``)
    expect(page).toContain(`\`${envOf(key)}\``)
    expect(page.includes(`| \`${flagOf(key)}\` |`)).toBe(settingOf(key).type !== 'secret')
  }
})

test('the error page has every code with its cause and remedy', () => {
  const page = errorsPage()
  for (const [code, { cause, remedy }] of Object.entries(ERRORS)) {
    expect(page).toContain(`## ${code}\n`)
    expect(page).toContain(cause)
    expect(page).toContain(remedy)
  }
})

test('the command page has the commands, those of the roles too', () => {
  const page = cliPage()
  for (const command of ['up', 'router', 'status', 'shard create', 'config show']) {
    expect(page).toContain(`### fleetshard ${command}\n`)
  }
})

test('the client page has every export with its comment, and no comment in its code', () => {
  const page = clientPage(dirname(dirname(script)))
  for (const name of ['connect', 'FleetShard', 'FleetShardError', 'SqlQuery', 'Consistency', 'kyselyFor'])
    expect(page).toContain(`### ${name}\n`)
  expect(page).toContain('Null and undefined are refused at once.')
  expect(page).toContain('| `shardFor` | The shard that owns a key')
  for (const [, block] of page.matchAll(/```ts\n(.*?)```/gs)) expect(block).not.toContain('/**')
})

test('--check fails on a page that is missing or different, and names the command to run', () => {
  const folder = mkdtempSync(join(tmpdir(), 'fleetshard-docs-'))
  const run = (...words: readonly string[]) =>
    spawnSync(process.execPath, [script, ...words, folder], { encoding: 'utf8' })
  try {
    expect(run('--check').status).toBe(1)
    expect(run().status).toBe(0)
    expect(run('--check').status).toBe(0)
    const path = join(folder, 'errors.md')
    writeFileSync(path, `${readFileSync(path, 'utf8')} `)
    const { status, stderr } = run('--check')
    expect([status, stderr]).toEqual([
      1,
      'docs/reference/errors.md is not what the code says; run: npm run docs\n',
    ])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
