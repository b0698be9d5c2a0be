import { FleetError } from '@fleetshard/core'
import { expect, test } from 'vitest'
import { plainStyle } from '../../cli/mod.ts'
import { checked, failed, passed, renderChecks, skipped, warned } from './check.ts'

test('what fails is told with its own remedy', async () => {
  const hint = 'start it'
  const check = await checked('router', () =>
    Promise.reject(new FleetError('server_unreachable', 'gone', { hint })),
  )
  expect(check).toEqual({ name: 'router', status: 'failed', detail: 'gone', remedy: hint })
  const fine = passed('router', 'there')
  expect(await checked('router', () => Promise.resolve(fine))).toBe(fine)
})

test('a line a check, and one below those with something to do', () => {
  const text = renderChecks(
    [
      passed('node', '24'),
      warned('ports', 'taken', 'choose'),
      failed('data dir', 'blocked', 'chmod'),
      skipped('a', 'b'),
    ],
    plainStyle,
  )
  expect(text.split('\n')).toEqual([
    '✓ node      24',
    '! ports     taken',
    '            → choose',
    '✗ data dir  blocked',
    '            → chmod',
    '– a         b',
    '',
  ])
})
