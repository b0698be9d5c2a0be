import { describe, expect, test } from 'vitest'
import { agentLayout, serverLayout, slotName, socketPathBytesMax } from './layout.ts'

describe('layout', () => {
  test('sockets lie beside the data where the path is short enough', () => {
    const layout = serverLayout(agentLayout('/srv/fleetshard'), 'shard-1-a')
    expect(layout.socketDir).toBe('/srv/fleetshard/servers/shard-1-a/run')
  })

  test('a deep data directory gets a socket folder that is short, its own, and the same each time', () => {
    const deep = agentLayout(`/srv/${'deep/'.repeat(30)}`)
    const first = serverLayout(deep, 'a').socketDir
    expect(Buffer.byteLength(`${first}/.s.PGSQL.65535`)).toBeLessThanOrEqual(socketPathBytesMax)
    expect(serverLayout(deep, 'a').socketDir).toBe(first)
    expect(serverLayout(deep, 'b').socketDir).not.toBe(first)
  })
})

describe('slot names', () => {
  test.each(['a', 'shard-1-b', 'Shard-1-B', 'x'.repeat(63)])('%s gives a name that Postgres takes', (id) => {
    expect(slotName(id)).toMatch(/^[a-z0-9_]{1,63}$/)
  })

  test('ids that differ in case or separators alone have different slots', () => {
    const ids = ['shard-1', 'shard_1', 'Shard-1', 'Shard_1']
    expect(new Set(ids.map(slotName)).size).toBe(ids.length)
  })
})
