// Catalogs that take connections under mutual TLS only: who gets in, and that new certificates are taken without a new
// store.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeSecureContext, type TlsTexts } from '@fleetshard/core/tls'
import { testCertificates } from '@fleetshard/routing/testing'
import { silentLogger, systemClock, type TlsSource } from '../../runtime/mod.ts'
import { openCatalogStore } from '../backends.ts'
import { commit, failure, put, readMap } from '../conformance/harness.ts'
import type { CatalogStore } from '../store.ts'
import { findEtcd, startTestEtcd } from '../testing/etcd-server.ts'
import { startTestPostgres } from '../testing/postgres-server.ts'

/** Certificates that a test replaces. */
function sourceOf(first: TlsTexts): TlsSource & { replace(texts: TlsTexts): void } {
  let texts = first
  const listeners = new Set<() => void>()
  return {
    texts: () => texts,
    context: () => makeSecureContext(texts),
    onChange(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    replace(next) {
      texts = next
      for (const listener of listeners) listener()
    },
  }
}

const certificates = testCertificates()
const strangers = testCertificates()
const etcd = await findEtcd()

const kinds = [
  { kind: 'postgres', start: () => startTestPostgres(undefined, certificates), mode: '?sslmode=verify-full' },
  ...(etcd === null ? [] : [{ kind: 'etcd', start: () => startTestEtcd(etcd, certificates), mode: '' }]),
]

describe.each(kinds)('a catalog in $kind under mutual TLS', ({ start, mode }) => {
  let server: Awaited<ReturnType<typeof start>>
  beforeAll(async () => {
    server = await start()
  })
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
  })

  const open = (tls: TlsSource | null): CatalogStore =>
    openCatalogStore(server.url + mode, { clock: systemClock, log: silentLogger, deadlineMs: 3_000, tls })

  it('lets in whoever shows a certificate of its authority', async () => {
    await using store = open(sourceOf(certificates))
    await commit(store, [put('in/a', '1')])
    expect(await readMap(store, 'in/')).toEqual(new Map([['in/a', '1']]))
  })

  it('keeps out who shows none, and who shows one of another', async () => {
    await using none = open(sourceOf({ ca: certificates.ca, certificate: null, key: null }))
    await failure(none.read(''), 'catalog_unavailable')
    await using other = open(sourceOf({ ...strangers, ca: certificates.ca }))
    await failure(other.read(''), 'catalog_unavailable')
  })

  it('is not taken for the catalog where its authority is not trusted', async () => {
    await using store = open(sourceOf({ ...certificates, ca: strangers.ca }))
    await failure(store.read(''), 'catalog_unavailable')
    await using bySystem = open(null)
    await failure(bySystem.read(''), 'catalog_unavailable')
  })

  it('is reached by the certificates of the moment', async () => {
    const source = sourceOf({ ...certificates, ca: strangers.ca })
    await using store = open(source)
    await failure(store.read(''), 'catalog_unavailable')
    source.replace(certificates)
    await commit(store, [put('moment/a', '1')])
    expect(await readMap(store, 'moment/')).toEqual(new Map([['moment/a', '1']]))
  })
})
