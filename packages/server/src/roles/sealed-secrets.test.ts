// The catalog with keys: what is stored, who reads it, and the way from one key to the next.
import { randomUUID } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { createCatalog, openCatalogStore, type Catalog } from '../catalog/mod.ts'
import { silentLogger, systemClock } from '../runtime/mod.ts'
import { createEnvelopeSealer, createLocalKeyService, makeKey } from '../security/mod.ts'

const password = 'hunter2-of-the-shard'

/** Catalogs on one store, each with its own keys; none for no argument. */
function setUp() {
  const store = openCatalogStore('memory:', { clock: systemClock, log: silentLogger })
  const withKeys = (...keys: string[]): Catalog => {
    const service = createLocalKeyService({ kind: 'text', text: keys.join('\n') })
    const sealer = keys.length === 0 ? null : createEnvelopeSealer(service)
    return createCatalog({ store, clock: systemClock, sealer, uuid: randomUUID })
  }
  const dump = async (): Promise<string> => JSON.stringify(await store.read(''))
  return { store, withKeys, dump }
}

describe('secrets of a catalog with keys', () => {
  it('are stored sealed, and read by those who have the key', async () => {
    const { store, withKeys, dump } = setUp()
    const key = makeKey()
    await withKeys(key).secrets.put('node-a', password)
    await store.commit([], [await withKeys(key).secrets.putWrite('node-b', password)])
    expect(await dump()).not.toContain(password)
    expect(await dump()).not.toContain(Buffer.from(password).toString('base64').replace(/=+$/, ''))
    for (const name of ['node-a', 'node-b']) {
      expect(await withKeys(key).secrets.get(name)).toBe(password)
      for (const other of [withKeys(), withKeys(makeKey())]) {
        const error: unknown = await other.secrets.get(name).catch((caught: unknown) => caught)
        expect(error).toMatchObject({ code: 'secret_unavailable' })
        expect(String(error)).toMatch(/sealed with the key [0-9a-f]{12}, and this process has/)
      }
    }
  })

  it('cannot be moved from one name to another', async () => {
    const { store, withKeys } = setUp()
    const catalog = withKeys(makeKey())
    await catalog.secrets.put('node-a', password)
    const { entries } = await store.read('secrets/node-a')
    await store.commit([], [{ kind: 'put', key: 'secrets/node-b', value: entries[0]?.value ?? '' }])
    await expect(catalog.secrets.get('node-b')).rejects.toMatchObject({ code: 'secret_unavailable' })
  })

  it('are sealed by a rotation, also those of before there were keys, and then need the new key alone', async () => {
    const { withKeys, dump } = setUp()
    const [old, fresh] = [makeKey(), makeKey()]
    await withKeys().secrets.put('plain', password)
    expect(await dump()).toContain(password)
    await withKeys(old).secrets.put('sealed', password)
    expect(await withKeys(old).secrets.get('plain')).toBe(password)

    const rotated = await withKeys(fresh, old).secrets.reseal()
    expect(rotated).toMatchObject({ sealed: 2, unchanged: 0 })
    expect(await dump()).not.toContain(password)
    for (const name of ['plain', 'sealed']) {
      expect(await withKeys(fresh).secrets.get(name)).toBe(password)
      await expect(withKeys(old).secrets.get(name)).rejects.toMatchObject({ code: 'secret_unavailable' })
    }
    expect(await withKeys(fresh, old).secrets.reseal()).toEqual({ ...rotated, sealed: 0, unchanged: 2 })
  })

  it('are left as they are by a rotation that lacks a key', async () => {
    const { withKeys } = setUp()
    const [old, fresh] = [makeKey(), makeKey()]
    await withKeys(old).secrets.put('node-a', password)
    await expect(withKeys(fresh).secrets.reseal()).rejects.toMatchObject({ code: 'secret_unavailable' })
    await expect(withKeys().secrets.reseal()).rejects.toMatchObject({
      code: 'secret_unavailable',
      hint: expect.stringContaining('secrets.key-file') as string,
    })
    expect(await withKeys(old).secrets.get('node-a')).toBe(password)
  })

  it('are not sealed over a value that was put meanwhile, nor by somebody who may not', async () => {
    const { store, withKeys } = setUp()
    const [old, fresh] = [makeKey(), makeKey()]
    await withKeys(old).secrets.put('node-a', password)
    const service = createLocalKeyService({ kind: 'text', text: `${fresh}\n${old}` })
    const slow = createEnvelopeSealer(service)
    const racing = createCatalog({
      store,
      clock: systemClock,
      uuid: randomUUID,
      sealer: {
        ...slow,
        async seal(name, value) {
          await withKeys(fresh).secrets.put('node-a', 'newer')
          return slow.seal(name, value)
        },
      },
    })
    await expect(racing.secrets.reseal()).rejects.toMatchObject({ code: 'catalog_conflict' })
    expect(await withKeys(fresh).secrets.get('node-a')).toBe('newer')
    const conditions = [{ kind: 'exists', key: 'elections/nobody' }] as const
    const once = withKeys(old, fresh).secrets.reseal({ conditions })
    await expect(once).rejects.toMatchObject({ code: 'catalog_conflict' })
  })
})
