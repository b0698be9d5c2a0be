import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { TokenRecord } from '@fleetshard/core'
import { testSnapshot } from '@fleetshard/routing/testing'
import type { CatalogChange, RouterPort } from '../../../catalog/router-port.ts'
import { silentLogger } from '../../../runtime/mod.ts'
import { manualClock } from '../../../runtime/testing/manual-clock.ts'
import { makeToken } from '../../../security/mod.ts'
import { loadMapCopy, MapFile, tokenSource, type MapCopy } from './map-file.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fleetshard-map-'))
})
afterEach(() => {
  rmSync(folder, { recursive: true })
})

const tokenOf = (name: string): TokenRecord => {
  const { id, digest } = makeToken()
  return { id, digest, name, scopes: ['viewer'], createdBy: 'a', createdAt: '', expiresAt: null, version: 1 }
}

/** A view of the catalog that the test changes. */
function viewOf(first: readonly TokenRecord[], isLoaded: () => boolean) {
  let tokens = new Map(first.map((token) => [token.id, token]))
  const listeners = new Set<(change: CatalogChange) => void>()
  const view = {
    isLoaded,
    current: () => ({ tokens }),
    subscribe(listener: (change: CatalogChange) => void) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  } as unknown as RouterPort['view']
  return {
    port: { view },
    become(next: readonly TokenRecord[]) {
      tokens = new Map(next.map((token) => [token.id, token]))
      for (const listener of listeners) listener({ state: { tokens } } as unknown as CatalogChange)
    },
  }
}

describe('the copy of the shard map', () => {
  it('has the tokens, as they are made and revoked, for starts without the catalog', async () => {
    const path = join(folder, 'copy')
    const [kept, revoked, made] = ['kept', 'revoked', 'made'].map(tokenOf) as [
      TokenRecord,
      TokenRecord,
      TokenRecord,
    ]
    const catalog = viewOf([kept, revoked], () => true)
    const read = (): MapCopy => ({
      cluster: 'c',
      secrets: {},
      tokens: [...catalog.port.view.current().tokens.values()],
      keyspaces: [testSnapshot(1, [])],
    })
    const file = new MapFile({ path, log: silentLogger, clock: manualClock(), read })
    file.followTokens(catalog.port)
    catalog.become([kept, made])
    await file[Symbol.asyncDispose]()
    expect(statSync(path).mode & 0o777).toBe(0o600)
    const copy = await loadMapCopy(path)
    expect(copy?.tokens).toEqual([kept, made])

    let isLoaded = false
    const later = viewOf([], () => isLoaded)
    const tokens = tokenSource(later.port, copy)
    expect([...tokens().keys()]).toEqual([kept.id, made.id])
    isLoaded = true
    expect(tokens().size).toBe(0)
  })
})
