import { describe, expect, test } from 'vitest'
import { TarReader, type TarEvent } from './tar.ts'
import { archiveOf, contentOf, headerOf } from './tar-fixture.ts'

function read(archive: Buffer, chunkBytes = archive.length): TarEvent[] {
  const reader = new TarReader()
  const events: TarEvent[] = []
  for (let start = 0; start < archive.length; start += chunkBytes) {
    events.push(...reader.feed(archive.subarray(start, start + chunkBytes)))
  }
  reader.end()
  return events
}

describe('tar reader', () => {
  test('tells files with their content, folders and links, in order', () => {
    const archive = archiveOf([
      { path: './base', type: '5' },
      { path: './base/1', content: Buffer.from('hello') },
      { path: 'empty', content: Buffer.alloc(0) },
      { path: 'pg_tblspc/7', type: '2', target: '/elsewhere' },
    ])
    const events = read(archive)
    expect(events.map((event) => event.kind)).toEqual([
      'folder',
      'file',
      'content',
      'file-end',
      'file',
      'file-end',
      'link',
    ])
    expect(events[0]).toMatchObject({ path: 'base' })
    expect(events[1]).toMatchObject({ path: 'base/1', sizeBytes: 5 })
    expect(events[6]).toMatchObject({ path: 'pg_tblspc/7', target: '/elsewhere' })
    expect(contentOf(events).get('base/1')?.toString()).toBe('hello')
  })

  test('reads sizes that do not fit in octal digits', () => {
    const header = headerOf({ path: 'big', sizeBytes: 9 * 1024 ** 3 })
    const [event] = new TarReader().feed(header)
    expect(event).toEqual({ kind: 'file', path: 'big', sizeBytes: 9 * 1024 ** 3 })
  })

  test.each(['/etc/passwd', '../secret', 'base/../../secret'])('refuses the path %s', (path) => {
    expect(() => read(archiveOf([{ path, content: Buffer.from('x') }]))).toThrow('leads out of its folder')
  })

  test('refuses a header with a wrong check sum', () => {
    const archive = archiveOf([{ path: 'a', content: Buffer.from('x') }])
    archive.write('b', 0)
    expect(() => read(archive)).toThrow('wrong check sum')
  })

  test('refuses an entry of a type that it does not know', () => {
    expect(() => read(archiveOf([{ path: 'a', type: '3' }]))).toThrow('unknown type')
  })

  test.each([512, 513, 515, 700])('says so when the archive is cut at byte %i', (end) => {
    const archive = archiveOf([{ path: 'a', content: Buffer.alloc(600, 1) }])
    expect(() => read(archive.subarray(0, end))).toThrow('middle of an entry')
  })
})
