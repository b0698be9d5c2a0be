// The file backend: reading and watching by the shared suite, refusal of the rest, and files that change badly.
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { silentLogger, systemClock, type Logger } from '../../../runtime/mod.ts'
import { failure, put, readMap, record, told, until } from '../../conformance/harness.ts'
import { testReadConformance } from '../../conformance.ts'
import { keys } from '../../keys.ts'
import type { CatalogStore, CommitResult, StoreWrite } from '../../store.ts'
import { createFileBackend, type FileBackend, type FileBackendParts } from './mod.ts'
import { createTopologyDecoder } from './topology.ts'

const pollEveryMs = 3

/** Replaces the file as careful writers do. */
async function replaceFile(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text)
  await rename(`${path}.new`, path)
}

/** Files that are plain objects of keys and values. */
const decodePlain: FileBackendParts['decode'] = ({ text }) =>
  new Map(Object.entries(JSON.parse(text) as Record<string, string>))

/** A handle that commits by writing the file, and waits until the backend has seen it. */
function writable(backend: FileBackend, path: string): CatalogStore {
  const store = backend.open()
  return {
    ...store,
    async commit(_conditions, writes): Promise<CommitResult> {
      const values = new Map(await readMap(store, ''))
      for (const write of writes) apply(values, write)
      await replaceFile(path, JSON.stringify(Object.fromEntries(values)))
      const wanted = textOf(values)
      await until('the file was read', async () => textOf(await readMap(store, '')) === wanted)
      const { entries, revision } = await store.read('')
      const revisions = new Map(entries.map((entry) => [entry.key, entry.revision]))
      return { kind: 'committed', revision, revisions }
    },
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  }
}

const textOf = (values: ReadonlyMap<string, string>): string =>
  JSON.stringify([...values].toSorted(([a], [b]) => (a < b ? -1 : 1)))

function apply(values: Map<string, string>, write: StoreWrite): void {
  if (write.kind === 'put') values.set(write.key, write.value)
  else values.delete(write.key)
}

testReadConformance('file', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'fs-file-'))
  const path = join(folder, 'catalog.json')
  await writeFile(path, '{}')
  const backend = createFileBackend({
    path,
    clock: systemClock,
    log: silentLogger,
    decode: decodePlain,
    pollEveryMs,
  })
  await backend.load()
  const stop = new AbortController()
  const running = backend.run(stop.signal)
  return {
    open: () => writable(backend, path),
    compact: () => Promise.resolve(backend.compact()),
    ttlMsMin: 0,
    server: null,
    async [Symbol.asyncDispose]() {
      stop.abort()
      await running
      await rm(folder, { recursive: true })
    },
  }
})

describe('a topology file as a catalog', () => {
  let folder: string
  let path: string
  let logged: string[]
  let backend: FileBackend
  let store: CatalogStore
  let stop: AbortController
  let running: Promise<void>

  const node = (host: string): object => ({ host, user: 'app', password: 'hunter2', dbname: 'app' })
  const fileOf = (hosts: readonly string[], more: object = {}): string =>
    JSON.stringify({
      shards: hosts.map((host, number) => ({ shard_id: number, primary: node(host) })),
      ...more,
    })
  const log = {
    ...silentLogger,
    info: (...words: unknown[]) => void logged.push(JSON.stringify(words)),
    error: (...words: unknown[]) => void logged.push(JSON.stringify(words)),
  } as unknown as Logger
  const primaries = async (): Promise<string[]> => {
    const { entries } = await store.read(keys.keyspaces)
    return entries.flatMap(({ key, value }) =>
      key.includes('/shards/')
        ? [(JSON.parse(value) as { nodes: { host: string }[] }).nodes[0]?.host ?? '']
        : [],
    )
  }
  const epoch = async (): Promise<number> => {
    const { entries } = await store.read('keyspaces/default/epoch')
    return (JSON.parse(entries[0]?.value ?? '{}') as { epoch: number }).epoch
  }
  const complaint = (part: string): Promise<void> =>
    until(`"${part}" is logged`, () => logged.some((line) => line.includes(part)))

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'fs-file-'))
    path = join(folder, 'topology.json')
    logged = []
    await writeFile(path, fileOf(['a', 'b']))
    backend = createFileBackend({
      path,
      clock: systemClock,
      log,
      decode: createTopologyDecoder(),
      pollEveryMs,
    })
    await backend.load()
    store = backend.open()
    stop = new AbortController()
    running = backend.run(stop.signal)
  })
  afterEach(async () => {
    stop.abort()
    await running
    await rm(folder, { recursive: true })
  })

  it('has the records of a keyspace, and the passwords apart from them', async () => {
    const all = await readMap(store, '')
    expect([...all.keys()].filter((key) => !key.startsWith('secrets/'))).toEqual([
      'keyspaces/default',
      'keyspaces/default/epoch',
      'keyspaces/default/shards/0',
      'keyspaces/default/shards/1',
    ])
    expect([...(await readMap(store, keys.keyspaces)).values()].join()).not.toContain('hunter2')
    expect([...(await readMap(store, keys.secrets)).values()]).toEqual(Array(2).fill('{"value":"hunter2"}'))
  })

  it('refuses to be written', async () => {
    const error = await failure(store.commit([], [put('a', '1')]), 'catalog_read_only')
    expect(error.message).toContain(path)
    await failure(store.lease(1_000), 'catalog_read_only')
  })

  it('takes a changed file as one batch with a higher epoch', async () => {
    const before = await epoch()
    const { revision } = await store.read('')
    await using watched = record(store, keys.keyspaces, revision)
    await replaceFile(path, fileOf(['a', 'c'], { default_consistency: 'eventual' }))
    await until('the batch came', () => watched.events.length > 0)
    expect(watched.events).toHaveLength(1)
    const changed = told(watched.events)[0]?.map((change) => change.split('=')[0])
    expect(changed).toEqual(['keyspaces/default', 'keyspaces/default/epoch', 'keyspaces/default/shards/1'])
    expect(await epoch()).toBeGreaterThan(before)
    expect(await primaries()).toEqual(['a', 'c'])
  })

  it('takes a file that is written over, and one with the same length', async () => {
    await writeFile(path, fileOf(['a', 'c']))
    await until('the file was read', async () => (await primaries())[1] === 'c')
    await writeFile(path, fileOf(['a', 'd']))
    await until('the file was read', async () => (await primaries())[1] === 'd')
  })

  it('keeps what it has while the file is half written, wrong, gone or unreadable, and says so once', async () => {
    await writeFile(path, fileOf(['a', 'c']).slice(0, 60))
    await complaint('this is not JSON')
    expect(backend.problem()).toContain('line 1')
    await replaceFile(path, fileOf(['a', 'b'], { hash: 'md5' }))
    await complaint('hash must be one of')
    await rm(path)
    await complaint('ENOENT')
    await writeFile(path, new Uint8Array([0x7b, 0xff, 0x7d]))
    await complaint('it is not UTF-8')
    expect(await primaries()).toEqual(['a', 'b'])
    await replaceFile(path, fileOf(['a', 'c']))
    await until('the file was read', async () => (await primaries())[1] === 'c')
    await until('all is well', () => backend.problem() === null)
    expect(logged.filter((line) => line.includes('ENOENT'))).toHaveLength(1)
    expect(logged.join()).not.toContain('hunter2')
  })

  it('refuses a version that looks for rows where they are not, and says what to do', async () => {
    await replaceFile(path, fileOf(['a', 'b', 'c']))
    await complaint('on shards 0, 1, 2 instead of 0, 1')
    await complaint('restart all routers with the new file, or give the keyspace a new name')
    await replaceFile(path, fileOf(['b', 'a']))
    await complaint('holds the rows of shard 1, not of shard 0')
    expect(await primaries()).toEqual(['a', 'b'])
    await replaceFile(path, fileOf(['b', 'a', 'c'], { keyspace: 'anew' }))
    await until('the file was read', async () => (await primaries()).length === 3)
    expect([...(await readMap(store, 'keyspaces/default')).keys()]).toEqual([])
  })

  it('goes by the time of the file, so that routers with the same file agree on the newer version', async () => {
    const first = await epoch()
    expect(Math.abs(first - systemClock.now() / 1000)).toBeLessThan(3_600)
    const other = createFileBackend({ path, clock: systemClock, log, decode: createTopologyDecoder() })
    await other.load()
    const { entries } = await other.open().read('keyspaces/default/epoch')
    expect(entries[0]?.value).toBe(JSON.stringify({ epoch: first }))
  })

  it('is not opened without a valid file', async () => {
    const open = (at: string): Promise<void> =>
      createFileBackend({ path: at, clock: systemClock, log, decode: createTopologyDecoder() }).load()
    await failure(open(join(folder, 'none.json')), 'invalid_config')
    await writeFile(join(folder, 'bad.json'), '{"shards": [')
    const error = await failure(open(join(folder, 'bad.json')), 'invalid_config')
    expect(error.message).toContain('bad.json, line 1, column 13: this is not JSON')
  })
})
