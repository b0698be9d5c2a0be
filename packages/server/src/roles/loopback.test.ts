import { expect, test } from 'vitest'
import { loadConfig, type ConfigKey, type GivenFlag } from '../runtime/mod.ts'
import { isLoopback, reachableHost, refuseOpenBind, urlHost } from './loopback.ts'

test.each(['127.0.0.1', '127.8.9.10', '::1', 'localhost'])('%s reaches this machine only', (host) => {
  expect(isLoopback(host)).toBe(true)
})

test.each(['0.0.0.0', '::', '10.0.0.1', '127.0.0.1.example.com', '1270.0.0.1', 'example.com', ''])(
  '%s may be reached by others',
  (host) => {
    expect(isLoopback(host)).toBe(false)
  },
)

test('an address that others reach is refused unless that is wanted', () => {
  const bind: [ConfigKey, GivenFlag] = ['bind-host', { flag: '--host', value: '0.0.0.0' }]
  const insecure: [ConfigKey, GivenFlag] = ['insecure', { flag: '--insecure', value: true }]
  expect(() => {
    refuseOpenBind(loadConfig({ env: {}, flags: new Map([bind]) }))
  }).toThrow(/nobody is asked who he is/)
  refuseOpenBind(loadConfig({ env: {}, flags: new Map([bind, insecure]) }))
  refuseOpenBind(loadConfig({ env: { FLEETSHARD_AUTH: 'required' }, flags: new Map([bind]) }))
  refuseOpenBind(loadConfig({ env: {} }))
})

test('hosts in URLs', () => {
  expect(urlHost('::1')).toBe('[::1]')
  expect(urlHost('127.0.0.1')).toBe('127.0.0.1')
  expect([reachableHost('0.0.0.0'), reachableHost('::'), reachableHost('10.0.0.1')]).toEqual([
    '127.0.0.1',
    '::1',
    '10.0.0.1',
  ])
})
