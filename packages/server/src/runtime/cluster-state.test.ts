import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  clusterStateFile,
  dataDirOf,
  defaultDataDir,
  readClusterState,
  removeClusterState,
  runningCluster,
  writeClusterState,
  type ClusterState,
} from './cluster-state.ts'
import { loadConfig } from './config/mod.ts'
import { blockedFolder, serverUser } from './server-user.ts'

let dataDir = ''
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'fleetshard-state-'))
})
afterEach(() => {
  rmSync(dataDir, { recursive: true, force: true })
})

function state(pid = process.pid): ClusterState {
  return {
    format: 1,
    pid,
    startedAt: '2026-01-01T00:00:00.000Z',
    version: '0.1.0',
    dataDir,
    ports: { 'router.http-port': 8080 },
    urls: { router: 'http://127.0.0.1:8080', manager: 'http://127.0.0.1:8081' },
  }
}

describe('the state file', () => {
  test('is read as it was written, and is for its owner only', () => {
    writeClusterState(state())
    expect(readClusterState(dataDir)).toEqual(state())
    expect(statSync(join(dataDir, clusterStateFile)).mode & 0o777).toBe(0o600)
    expect(readdirSync(dataDir)).toEqual([clusterStateFile])
  })

  test('is replaced whole and can be removed twice', () => {
    writeClusterState(state())
    writeClusterState({ ...state(), version: '0.2.0' })
    expect(readClusterState(dataDir)?.version).toBe('0.2.0')
    removeClusterState(dataDir)
    removeClusterState(dataDir)
    expect(readClusterState(dataDir)).toBeNull()
  })

  test.each(['', '{', '[]', '{"format": 2}', '{"format": 1, "pid": "x"}'])(
    'is not believed when it holds %j',
    (text) => {
      writeFileSync(join(dataDir, clusterStateFile), text)
      expect(readClusterState(dataDir)).toBeNull()
    },
  )

  test('that a crash left behind is of no running cluster', () => {
    writeClusterState(state(2 ** 22 + 12_345))
    expect(readClusterState(dataDir)).not.toBeNull()
    expect(runningCluster(dataDir)).toBeNull()
    writeClusterState(state())
    expect(runningCluster(dataDir)?.pid).toBe(process.pid)
  })
})

describe('the data directory', () => {
  const user = { name: 'postgres', uid: 101, gid: 102 }

  test('is the one that was given', () => {
    const config = loadConfig({ env: { FLEETSHARD_DATA_DIR: '/srv/fleet' } })
    expect(dataDirOf(config, '/anywhere')).toBe('/srv/fleet')
  })

  test('lies in the working directory for a plain user', () => {
    expect(defaultDataDir('/root/app', null)).toBe('/root/app/.fleetshard')
  })

  test('lies in the working directory where the servers can walk there', () => {
    expect(defaultDataDir('/usr', user)).toBe('/usr/.fleetshard')
  })

  test('lies under /var/tmp where they cannot, one for each working directory', () => {
    const inside = join(dataDir, 'checkout')
    // mkdtemp makes folders that only their owner may enter.
    expect(blockedFolder(inside, user)).toBe(dataDir)
    const [one, other] = [defaultDataDir(inside, user), defaultDataDir(join(dataDir, 'other'), user)]
    expect(one).toMatch(/^\/var\/tmp\/fleetshard-[0-9a-f]{12}$/)
    expect(other).not.toBe(one)
    expect(defaultDataDir(inside, user)).toBe(one)
  })
})

describe('the server user', () => {
  const files: Readonly<Record<string, string>> = {
    '/etc/passwd':
      'root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\npostgres:x:101:102::/:/bin/sh\n',
  }
  const read = (path: string): string => files[path] ?? ''

  test('is nobody else when we are not root', () => {
    expect(serverUser(1000, read)).toBeNull()
  })

  test('is postgres, without its groups, when we are root', () => {
    expect(serverUser(0, read)).toEqual({ name: 'postgres', uid: 101, gid: 102 })
  })

  test('is nobody where there is no postgres', () => {
    expect(serverUser(0, (path) => read(path).replace('postgres:', 'pg:'))?.name).toBe('nobody')
  })
})
