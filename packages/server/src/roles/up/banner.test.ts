import { expect, test } from 'vitest'
import { dataDirWords, groupLines } from './banner.ts'

test('commands name the data directory only where it is not the usual one', () => {
  expect(dataDirWords('/a/.fleetshard', '/a/.fleetshard')).toBe('')
  expect(dataDirWords('/b/data', '/a/.fleetshard')).toBe(' --data-dir /b/data')
  expect(dataDirWords("/b/it's here", '/a')).toBe(String.raw` --data-dir '/b/it'\''s here'`)
})

test('a cluster of many shards is told in numbers', () => {
  const groups = Array.from({ length: 64 }, (_, index) => ({
    name: `shard-${String(index + 1)}`,
    primary: '127.0.0.1:15433',
    replicas: index === 0 ? [] : ['127.0.0.1:15434', '127.0.0.1:15435'],
  }))
  const lines = groupLines(groups)
  expect(lines).toHaveLength(7)
  expect(lines[0]).toBe('  shard-1    primary 127.0.0.1:15433')
  expect(lines[1]).toContain('replicas 127.0.0.1:15434 127.0.0.1:15435')
  expect(lines.at(-1)).toContain('58 more')
})
