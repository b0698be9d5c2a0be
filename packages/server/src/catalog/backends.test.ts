import { describe, expect, it } from 'vitest'
import { silentLogger, systemClock } from '../runtime/mod.ts'
import { openCatalogStore } from './backends.ts'
import { failure } from './conformance/harness.ts'

const options = { clock: systemClock, log: silentLogger }

describe('openCatalogStore', () => {
  it('opens a backend by its scheme, without any I/O', async () => {
    for (const url of [
      'memory:',
      'postgres://user:p%40ss@localhost:5432/catalog',
      'postgresql:///catalog?host=/run/postgresql',
      'etcd://127.0.0.1:2379',
      'etcd://one:2379,two:2379,[::1]:2379/',
      'etcd://user:p%40ss@127.0.0.1:2379',
    ]) {
      await using store = openCatalogStore(url, options)
      expect(typeof store.read, url).toBe('function')
    }
  })

  it('refuses what it does not know, without its password', async () => {
    for (const url of [
      '',
      'mysql://user:secret@host/db',
      'toString://x',
      'etcd://',
      'etcd://host',
      'etcd://user:secret@host:1,',
      'etcd://user:secret@host:1/path',
      'postgres://user:secret@[bad/db',
    ]) {
      const error = await failure(
        Promise.resolve().then(() => openCatalogStore(url, options)),
        'invalid_config',
      )
      expect(
        JSON.stringify([error.message, error.hint, error.facts]) + String(error.cause),
        url,
      ).not.toContain('secret')
      expect(error.hint).toContain('postgres')
    }
  })
})
