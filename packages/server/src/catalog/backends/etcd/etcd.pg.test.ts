import { beforeAll, afterAll, describe, expect, it } from 'vitest'
import { silentLogger, systemClock } from '../../../runtime/mod.ts'
import { testConformance } from '../../conformance.ts'
import { commit, failure, patience, put, readMap, record, told, until } from '../../conformance/harness.ts'
import { findEtcd, startTestEtcd, type TestEtcd } from '../../testing/etcd-server.ts'
import { findFreePort } from '../../testing/process.ts'
import { openEtcdStore, type EtcdStore } from './mod.ts'

const command = await findEtcd()
const required = process.env['FLEETSHARD_REQUIRE_ETCD'] === '1'

function openStore(server: TestEtcd, keyPrefix = '/test/', others: readonly string[] = []): EtcdStore {
  const members = [...others, new URL(server.url.replace('etcd:', 'http:')).host]
  return openEtcdStore({ members }, { clock: systemClock, log: silentLogger, deadlineMs: 3_000, keyPrefix })
}

if (command === null) {
  console.log('the etcd store is not tested: there is no etcd on the PATH (apt-get install etcd-server)')
  describe('etcd store', () => {
    it.skipIf(!required)('needs etcd on the PATH, and there is none', () => {
      expect.fail('FLEETSHARD_REQUIRE_ETCD=1, but etcd is not installed')
    })
  })
} else {
  testConformance(
    'etcd',
    async () => {
      const server = await startTestEtcd(command)
      const upkeep = openStore(server)
      return {
        open: () => openStore(server),
        compact: () => upkeep.compact(),
        ttlMsMin: 2_000,
        server,
        async [Symbol.asyncDispose]() {
          await upkeep[Symbol.asyncDispose]()
          await server[Symbol.asyncDispose]()
        },
      }
    },
    true,
  )
  testEtcdItself(command)
}

function testEtcdItself(etcd: string): void {
  describe('etcd backend', () => {
    let server: TestEtcd
    beforeAll(async () => {
      server = await startTestEtcd(etcd)
    })
    afterAll(async () => {
      await server[Symbol.asyncDispose]()
    })

    it('stays under its key prefix', async () => {
      await using one = openStore(server, '/one/')
      await using two = openStore(server, '/two/')
      const { revision } = await one.read('')
      await commit(two, [put('a', 'of two')])
      await commit(one, [put('a', 'of one')])
      expect(await readMap(one, '')).toEqual(new Map([['a', 'of one']]))
      expect(await readMap(two, '')).toEqual(new Map([['a', 'of two']]))
      for await (const event of one.watch('', revision, patience())) {
        expect(told([event])).toEqual([['a=of one']])
        break
      }
    })

    it('goes on at another member when one is not there', async () => {
      const dead = `127.0.0.1:${await findFreePort()}`
      await using store = openStore(server, '/members/', [dead])
      const { revision } = await store.read('')
      await using watched = record(store, '', revision)
      await using fresh = openStore(server, '/members/', [dead])
      await commit(fresh, [put('a', '1')])
      await until('the change was seen', () => watched.events.length === 1)
    })

    it('reads more keys than one page has, as of one moment', async () => {
      await using store = openStore(server, '/pages/')
      for (let n = 0; n < 700; n += 50) {
        await commit(
          store,
          Array.from({ length: 50 }, (_, k) => put(`k${String(n + k).padStart(4, '0')}`, '1')),
        )
      }
      const { entries } = await store.read('k')
      expect(entries.map(({ key }) => key)).toEqual(
        Array.from({ length: 700 }, (_, n) => `k${String(n).padStart(4, '0')}`),
      )
    })

    it('takes a store that was replaced by an older one as compacted', async () => {
      await using store = openStore(server)
      const { revision } = await store.read('')
      const later = String(BigInt(revision) + 1000n) as typeof revision
      const events: unknown[] = []
      for await (const event of store.watch('', later, patience())) events.push(event)
      expect(events).toEqual([{ kind: 'compacted' }])
    })

    it('refuses its work when nobody is there', async () => {
      const members = [`127.0.0.1:${await findFreePort()}`]
      await using store = openEtcdStore(
        { members },
        { clock: systemClock, log: silentLogger, deadlineMs: 3_000, keyPrefix: '/x/' },
      )
      await failure(store.read(''), 'catalog_unavailable')
    })
  })
}
