import { expect, test } from 'vitest'
import { loadConfig, type ConfigKey, type GivenFlag } from '../../runtime/mod.ts'
import { flagsOf } from './detach.ts'

const flags = new Map<ConfigKey, GivenFlag>([
  ['router.http-port', { flag: '--http-port', value: '0' }],
  ['drain-ms', { flag: '--drain-ms', value: '1.5s' }],
  ['data-dir', { flag: '--data-dir', value: 'data' }],
  ['up.fsync', { flag: '--fsync', value: 'false' }],
])

test('the process in the background is told the same as the one in front', () => {
  const config = loadConfig({ env: { FLEETSHARD_UP_SHARDS: '3' }, flags, cwd: '/srv' })
  const words = flagsOf(config)
  expect(words).toHaveLength(flags.size)
  expect(words).toContain('--data-dir=/srv/data')
  const again = new Map<ConfigKey, GivenFlag>(
    [...flags.keys()].map((key) => {
      const flag = `--${key.replaceAll('.', '-')}`
      const value = words.find((word) => word.startsWith(`${flag}=`))?.slice(flag.length + 1) ?? ''
      return [key, { flag, value }]
    }),
  )
  const there = loadConfig({ env: {}, flags: again, cwd: '/elsewhere' })
  for (const key of flags.keys()) expect(there.get(key)).toBe(config.get(key))
})
