import { describe, expect, test } from 'vitest'
import { renderHba, renderPassFile, renderSettings, type ServerSettings } from './settings.ts'

const server: ServerSettings = {
  id: 'shard-1-a',
  major: 18,
  port: 15432,
  address: '127.0.0.1',
  certificates: null,
  socketDir: '/data/run',
  hbaFile: '/data/conf/pg_hba.conf',
  identFile: '/data/conf/pg_ident.conf',
  durability: 'full',
  follow: null,
  sync: null,
  extra: {},
}

/** The settings by name, as the server reads them. */
function parse(text: string): Map<string, string> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => {
      const [, name = '', value = ''] = /^(\w+) = (.*)$/.exec(line) ?? []
      return [name, value.startsWith("'") ? value.slice(1, -1).replaceAll("''", "'") : value]
    }),
  )
}

describe('settings of a server', () => {
  test('keep what a database must keep, unless it is thrown away', () => {
    expect(parse(renderSettings(server)).has('fsync')).toBe(false)
    expect(parse(renderSettings({ ...server, durability: 'throwaway' })).get('fsync')).toBe('off')
  })

  test('leave io_method out before version 18, which does not know it', () => {
    expect(parse(renderSettings(server)).get('io_method')).toBe('sync')
    expect(parse(renderSettings({ ...server, major: 17 })).has('io_method')).toBe(false)
  })

  test('hold paths with quotes, commas and backslashes', () => {
    const settings = parse(renderSettings({ ...server, socketDir: `/it's, "a" \\ path` }))
    expect(settings.get('unix_socket_directories')).toBe(`"/it's, ""a"" \\\\ path"`)
  })

  test('give a replica its upstream with a password file and never a password', () => {
    const follow = {
      host: "/it's",
      port: 15433,
      passFile: '/data/conf/passfile',
      slot: 'fs_b',
      applicationName: 'shard-1-b',
      certificates: null,
    }
    const settings = parse(renderSettings({ ...server, follow }))
    expect(settings.get('primary_slot_name')).toBe('fs_b')
    expect(settings.get('primary_conninfo')).toContain(String.raw`host='/it\\'s' port='15433'`)
    expect(settings.get('primary_conninfo')).not.toContain('password=')
  })

  test('speak TLS by copies of the certificates, and follow a server elsewhere only when it is the one it says', () => {
    const files = { caFile: '/c/ca.crt', certificateFile: '/c/server.crt', keyFile: '/c/server.key' }
    const follow = {
      host: 'db1.example',
      port: 15433,
      passFile: '/data/conf/passfile',
      slot: 'fs_b',
      applicationName: 'shard-1-b',
      certificates: files,
    }
    const settings = parse(renderSettings({ ...server, address: '0.0.0.0', certificates: files, follow }))
    expect(settings.get('listen_addresses')).toBe('"0.0.0.0"')
    expect(settings.get('ssl')).toBe('on')
    expect(settings.get('ssl_min_protocol_version')).toBe('TLSv1.2')
    expect(settings.get('ssl_key_file')).toBe('/c/server.key')
    expect(settings.get('primary_conninfo')).toMatch(
      /host='db1\.example'.*sslmode='verify-full'.*sslrootcert='\/c\/ca\.crt' sslcert='\/c\/server\.crt' sslkey='\/c\/server\.key'/,
    )
    expect(parse(renderSettings(server)).has('ssl')).toBe(false)
  })

  test("let the caller's settings win", () => {
    const settings = parse(renderSettings({ ...server, extra: { shared_buffers: '16MB' } }))
    expect(settings.get('shared_buffers')).toBe('16MB')
  })

  test('refuse a line break, which would begin another setting', () => {
    expect(() => renderSettings({ ...server, extra: { search_path: "a'\nfsync = off" } })).toThrow(
      'line break',
    )
  })
})

test('the superuser is let in over the socket only, and nobody without a password', () => {
  const lines = renderHba(null)
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(/\s+/))
  const host = lines.filter(([type]) => type === 'host')
  expect(host[0]).toEqual(['host', 'all', 'postgres', 'all', 'reject'])
  expect(new Set(lines.map((line) => line.at(-1)))).toEqual(new Set(['scram-sha-256', 'reject']))
})

test.each(['ignored', 'required'] as const)(
  'with TLS nobody is let in over TCP without it (certificates of clients: %s)',
  (clientCertificates) => {
    const lines = renderHba({ clientCertificates })
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#') && !line.startsWith('local'))
    expect(lines[0]).toMatch(/^host +all +postgres +all +reject$/)
    expect(lines.slice(1).every((line) => line.startsWith('hostssl '))).toBe(true)
    expect(lines.slice(1).every((line) => line.endsWith('clientcert=verify-ca'))).toBe(
      clientCertificates === 'required',
    )
  },
)

test('the password file escapes what separates its fields', () => {
  expect(renderPassFile(String.raw`a:b\c`)).toBe('*:*:*:app:' + String.raw`a\:b\\c` + '\n')
})
