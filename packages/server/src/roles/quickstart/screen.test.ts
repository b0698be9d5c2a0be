import { expect, test } from 'vitest'
import { plainStyle } from '../../cli/mod.ts'
import type { ClusterState } from '../../runtime/mod.ts'
import { renderScreen, screenCellsMax, screenLinesMax, wrapped, type Screen } from './screen.ts'

const state: ClusterState = {
  format: 1,
  pid: 1,
  startedAt: '2026-01-01T00:00:00.000Z',
  version: '0.1.0',
  dataDir: '/somewhere',
  postgresVersion: '18.4',
  ports: {},
  urls: {
    router: 'http://127.0.0.1:65535',
    manager: 'http://127.0.0.1:65534',
    agent: 'http://127.0.0.1:65533',
    routerMetrics: 'http://127.0.0.1:65532',
    managerMetrics: 'http://127.0.0.1:65531',
    workerMetrics: 'http://127.0.0.1:65530',
  },
}

function screen(shards: number, replicas: number): Screen {
  return {
    state,
    tookMs: 4321,
    words: '',
    shards: Array.from({ length: shards }, (_, index) => ({
      name: `shard-${String(index + 1).padStart(2, '0')}`,
      primary: '127.0.0.1:15433',
      replicas: Array.from({ length: replicas }, () => '127.0.0.1:15434'),
      users: 500,
    })),
    examples: [
      { command: ['curl a', '  b', '  c'], answer: wrapped('x'.repeat(250), screenCellsMax, '') },
      { command: ['npx fleetshard b'], answer: ['count', '  500', '(1 row)'] },
    ],
  }
}

test.each([
  [0, 0],
  [1, 0],
  [2, 1],
  [3, 1],
  [8, 2],
  [64, 8],
])('%i shards with %i replicas fit the screen', (shards, replicas) => {
  const lines = renderScreen(screen(shards, replicas), plainStyle).trimEnd().split('\n')
  expect(lines.length).toBeLessThanOrEqual(screenLinesMax)
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(screenCellsMax)
  expect(lines.join('\n')).toContain('npx fleetshard down')
})

test('shards that are not shown are counted', () => {
  const text = renderScreen(screen(10, 0), plainStyle)
  const shown = text.match(/shard-\d\d/g)?.length ?? 0
  expect(shown).toBeGreaterThan(0)
  expect(text).toContain(`and ${String(10 - shown)} more shards`)
})

test('a long answer is cut into lines and loses nothing', () => {
  const text = 'abcdefghij'.repeat(7)
  const lines = wrapped(text, 16, '  ')
  expect(lines.every((line) => line.startsWith('  ') && line.length <= 16)).toBe(true)
  expect(lines.map((line) => line.slice(2)).join('')).toBe(text)
})
