import { expect, test } from 'vitest'
import { loadConfig } from '../runtime/mod.ts'
import { mapFileOf } from './router.ts'

const at = (env: Record<string, string>): ReturnType<typeof loadConfig> => loadConfig({ env })
const one = at({ FLEETSHARD_CATALOG_URL: 'postgres://a:secret@db/catalog' })

test('each catalog and port has a copy of the map of its own', () => {
  const env = { HOME: '/home/ann' }
  const others = [
    at({ FLEETSHARD_CATALOG_URL: 'postgres://a:secret@other/catalog' }),
    at({ FLEETSHARD_CATALOG_URL: 'postgres://a:secret@db/catalog', FLEETSHARD_ROUTER_HTTP_PORT: '8090' }),
  ]
  const files = new Set([one, ...others].map((config) => mapFileOf(config, env)))
  expect(files.size).toBe(3)
})

test('a new password is no new catalog', () => {
  const rotated = at({ FLEETSHARD_CATALOG_URL: 'postgres://a:other@db/catalog' })
  expect(mapFileOf(rotated, { HOME: '/home/ann' })).toBe(mapFileOf(one, { HOME: '/home/ann' }))
})
