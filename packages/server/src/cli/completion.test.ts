import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { call } from './testing/call.ts'

/** What bash offers after the words; the last one is what is being typed. */
async function offered(...words: readonly string[]): Promise<readonly string[]> {
  const script = (await call(['completion', 'bash'])).out
  const quoted = ['fleetshard', ...words].map((word) => `'${word}'`).join(' ')
  const ask = `COMP_WORDS=(${quoted}); COMP_CWORD=${String(words.length)}; _fleetshard; printf '%s\\n' "\${COMPREPLY[@]}"`
  const text = execFileSync('bash', ['--norc', '-c', `${script}\n${ask}`], { encoding: 'utf8' })
  return text.split('\n').filter((word) => word !== '')
}

test('bash completes commands, verbs and flags', async () => {
  expect(await offered('sta')).toEqual(['status'])
  expect(await offered('shard', '')).toEqual(['create', 'list', 'get', 'update', 'promote', 'delete'])
  expect(await offered('shard', 'list', '--sta')).toEqual(['--status'])
  expect(await offered('shard', 'get', 's-1', '--man')).toEqual(['--manager-url'])
  expect(await offered('key', 'user-1', '--ta')).toEqual(['--table'])
})

test('zsh and fish have scripts too, others do not', async () => {
  expect((await call(['completion', 'zsh'])).out).toMatch(/^#compdef fleetshard\n/)
  const fish = (await call(['completion', 'fish'])).out
  expect(fish).toContain(
    "complete -c fleetshard -n '__fish_seen_subcommand_from shard; and __fish_seen_subcommand_from list' -l status",
  )
  expect(await call(['completion', 'tcsh'])).toMatchObject({ code: 2, out: '' })
})
