import { spawn } from 'node:child_process'
import { createServer, type Server } from 'node:net'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Agent } from './agent.ts'
import { identifyProcess, isPidTaken } from './proc.ts'
import { connect, makeTestFolder, openTestAgent, query, until } from './testing.ts'

describe('an agent', () => {
  let folder = ''
  let agent: Agent
  beforeAll(async () => {
    folder = await makeTestFolder()
    agent = await openTestAgent(folder)
  })
  afterAll(async () => {
    await agent[Symbol.asyncDispose]()
    await rm(folder, { recursive: true })
  })

  test('makes a primary that keeps its data, port and password, stopped or not', async () => {
    const made = await agent.createPrimary({ id: 'a' })
    const before = await agent.endpoint('a')
    await query(agent, 'a', 'CREATE TABLE t AS SELECT 42 AS answer')
    await agent.stop('a')
    expect(agent.get('a')).toMatchObject({ state: 'stopped', desired: 'stopped', pid: null })
    await agent[Symbol.asyncDispose]()

    agent = await openTestAgent(folder)
    await agent.startAll()
    expect(agent.get('a').state).toBe('stopped')
    await agent.start('a')
    expect(agent.get('a').port).toBe(made.port)
    expect(await agent.endpoint('a')).toEqual(before)
    expect(await query(agent, 'a', 'SELECT * FROM t')).toEqual([{ answer: 42 }])
    await agent[Symbol.asyncDispose]()

    agent = await openTestAgent(folder)
    await agent.startAll()
    expect(agent.get('a')).toMatchObject({ state: 'running', desired: 'running', port: made.port })
  })

  test('gives the product a role that owns its database and is no superuser', async () => {
    const [role] = await query(
      agent,
      'a',
      `SELECT current_user, current_database(), rolsuper, rolreplication, rolcreatedb, rolcreaterole,
              pg_get_userbyid(datdba) AS owner
         FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()`,
    )
    expect(role).toEqual({
      current_user: 'app',
      current_database: 'app',
      rolsuper: false,
      rolreplication: true,
      rolcreatedb: true,
      rolcreaterole: false,
      owner: 'app',
    })
    await query(agent, 'a', 'CREATE SCHEMA s; CREATE TABLE s.t (a int)')
  })

  test('lets the superuser in over the socket only, and nobody without the password', async () => {
    const superuser = await agent.superuser('a')
    await expect(connect({ ...superuser, host: '127.0.0.1' })).rejects.toThrow('pg_hba.conf rejects')
    const endpoint = await agent.endpoint('a')
    await expect(connect({ ...endpoint, password: 'wrong' })).rejects.toThrow(
      'password authentication failed',
    )
  })

  test('keeps secrets out of other hands', async () => {
    const { password, socketDir } = await agent.endpoint('a')
    const superuser = await agent.superuser('a')
    for (const name of await readdir(join(folder, 'secrets'))) {
      expect((await stat(join(folder, 'secrets', name))).mode & 0o777).toBe(0o600)
    }
    expect((await stat(socketDir)).mode & 0o777).toBe(0o700)
    expect(await readFile(agent.secretFile('a'), 'utf8')).toBe(password)
    const log = await readFile(join(folder, 'servers', 'a', 'postgres.log'), 'utf8')
    const shown = JSON.stringify(agent.list()) + log + (await readFile(join(folder, 'agent.json'), 'utf8'))
    expect(shown).not.toContain(password)
    expect(shown).not.toContain(superuser.password)
  })

  test('makes a server once, however often and however parallel it is ordered', async () => {
    const orders = [1, 2, 3].map(() => agent.createPrimary({ id: 'once', database: 'shop' }))
    const all = await Promise.all(orders)
    expect(new Set(all.map(({ pid }) => pid)).size).toBe(1)
    await expect(agent.createPrimary({ id: 'once' })).rejects.toMatchObject({ code: 'already_exists' })
  })

  test('drops a server with its files, secrets and port, also when told twice', async () => {
    const { port } = agent.get('once')
    await agent.drop('once')
    await agent.drop('once')
    expect(agent.list().map(({ id }) => id)).toEqual(['a'])
    expect(await readdir(join(folder, 'servers'))).toEqual(['a'])
    expect((await readdir(join(folder, 'secrets'))).filter((name) => name.startsWith('once'))).toEqual([])
    expect((await agent.createPrimary({ id: 'next' })).port).toBe(port)
  })

  test('completes a server whose making was interrupted', async () => {
    const stop = new AbortController()
    const making = agent.createPrimary({ id: 'late' }, stop.signal)
    await until('initdb has begun', () => existsSync(join(folder, 'servers', 'late', 'data.new')))
    stop.abort(new Error('interrupted'))
    await expect(making).rejects.toThrow('interrupted')
    expect(agent.get('late').state).toBe('incomplete')
    await agent[Symbol.asyncDispose]()

    agent = await openTestAgent(folder)
    await agent.startAll()
    expect(agent.get('late').state).toBe('incomplete')
    expect((await agent.createPrimary({ id: 'late' })).state).toBe('running')
    expect(await query(agent, 'late', 'SELECT 1 AS one')).toEqual([{ one: 1 }])
    await agent.drop('late')
  })

  test('gives up making a server that is dropped meanwhile', async () => {
    const making = agent.createPrimary({ id: 'late' })
    await until('initdb has begun', () => existsSync(join(folder, 'servers', 'late', 'data.new')))
    const [made] = await Promise.allSettled([making, agent.drop('late')])
    expect(made).toMatchObject({ status: 'rejected', reason: { code: 'conflict' } })
    expect(existsSync(join(folder, 'servers', 'late'))).toBe(false)
  })

  test('refuses orders of an older term, whatever they are', async () => {
    await agent.stop('a', { term: 5 })
    await agent.start('a', { term: 5 })
    const older = { term: 4 }
    for (const order of [agent.stop('a', older), agent.fence('a', older), agent.promote('a', older)]) {
      await expect(order).rejects.toMatchObject({ code: 'conflict', retryable: false })
    }
    expect(agent.get('a').state).toBe('running')
  })

  test('says so when the server of an order is not there', async () => {
    await expect(agent.start('nobody')).rejects.toMatchObject({ code: 'not_found' })
    await expect(agent.createReplica({ id: 'b', of: 'nobody' })).rejects.toMatchObject({ code: 'not_found' })
    expect(agent.list().map(({ id }) => id)).toEqual(['a', 'next'])
  })

  test('is the only one on its directory', async () => {
    await expect(openTestAgent(folder)).rejects.toMatchObject({ code: 'data_dir_in_use' })
  })

  test('gives a server another port when its own was taken; replicas find it there', async () => {
    const { port } = agent.get('a')
    await agent.createReplica({ id: 'b', of: 'a' })
    await agent.stop('a')
    const squatter = await listen(port)
    try {
      const moved = await agent.start('a')
      expect(moved.port).not.toBe(port)
      expect((await agent.endpoint('a')).port).toBe(moved.port)
      await agent.awaitStreaming('b')
    } finally {
      squatter.close()
    }
  })
})

describe('a server that ends by itself', () => {
  let folder = ''
  let agent: Agent
  beforeAll(async () => {
    folder = await makeTestFolder()
    agent = await openTestAgent(folder)
    await agent.createPrimary({ id: 'a' })
  })
  afterAll(async () => {
    await agent[Symbol.asyncDispose]()
    await rm(folder, { recursive: true })
  })

  const restarted = (before: number) => (): boolean =>
    agent.get('a').restarts > before && agent.get('a').state === 'running'

  test('is started again after kill -9, with its data', async () => {
    const { pid, restarts } = agent.get('a')
    await query(agent, 'a', 'CREATE TABLE t AS SELECT 42 AS answer')
    process.kill(pid ?? 0, 'SIGKILL')
    await until('restarted', restarted(restarts))
    expect(agent.get('a').pid).not.toBe(pid)
    expect(await query(agent, 'a', 'SELECT * FROM t')).toEqual([{ answer: 42 }])
  })

  test('is started again though a busy child of it holds its memory', async () => {
    const { pid, restarts } = agent.get('a')
    const client = await connect(await agent.endpoint('a'))
    const busy = client.query('DO $$ BEGIN LOOP END LOOP; END $$').catch(() => 'ended')
    await until('the loop runs', async () => {
      const active = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'DO%' AND state = 'active'"
      return (await query(agent, 'a', active)).length === 1
    })
    process.kill(pid ?? 0, 'SIGKILL')
    await until('restarted', restarted(restarts))
    expect(await busy).toBe('ended')
  })

  test('is started again though its pid was given to another process', async () => {
    await agent.stop('a', { mode: 'kill' })
    const pidFile = join(folder, 'servers', 'a', 'data', 'postmaster.pid')
    const lines = (await readFile(pidFile, 'utf8')).split('\n')
    await writeFile(pidFile, [String(process.pid), ...lines.slice(1)].join('\n'))
    expect((await agent.start('a')).state).toBe('running')
  })

  test.runIf(process.platform === 'linux')(
    'is started again though its dead postmaster was not buried',
    async () => {
      // The first program ends when the second has become its parent, which never asks how; a shell might.
      const parent = spawn('/bin/sh', ['-c', 'sleep 1 & echo $!; exec sleep 600'], {
        stdio: ['ignore', 'pipe', 'ignore'],
      })
      try {
        const [line] = (await once(parent.stdout, 'data')) as [Buffer]
        const dead = Number(line.toString())
        await until(
          'it is dead, and there',
          async () => (await identifyProcess(dead)) === null && isPidTaken(dead),
        )
        await agent.stop('a', { mode: 'kill' })
        const pidFile = join(folder, 'servers', 'a', 'data', 'postmaster.pid')
        const lines = (await readFile(pidFile, 'utf8')).split('\n')
        await writeFile(pidFile, [String(dead), ...lines.slice(1)].join('\n'))
        expect((await agent.start('a')).state).toBe('running')
      } finally {
        parent.kill('SIGKILL')
      }
    },
  )

  test('is told when it cannot start, and comes back once it can', async () => {
    const { pid } = agent.get('a')
    const control = join(folder, 'servers', 'a', 'data', 'global', 'pg_control')
    const content = await readFile(control)
    await writeFile(control, '')
    process.kill(pid ?? 0, 'SIGKILL')
    await until('a start failed', () => agent.get('a').lastError?.includes('pg_control') === true)
    expect(agent.get('a').state).not.toBe('running')
    await writeFile(control, content)
    await until('running again', () => agent.get('a').state === 'running')
  })

  test('is stopped though it hangs: a frozen child gives way to harder means', async () => {
    const { pid } = agent.get('a')
    process.kill(pid ?? 0, 'SIGSTOP')
    expect(await agent.stop('a', { mode: 'immediate' })).toMatchObject({ state: 'stopped', pid: null })
    expect((await agent.start('a')).state).toBe('running')
  })

  test('stays down when it was fenced, also under a new agent, until it is unfenced', async () => {
    await agent.fence('a')
    expect(agent.get('a')).toMatchObject({ desired: 'fenced', state: 'stopped' })
    await agent[Symbol.asyncDispose]()
    agent = await openTestAgent(folder)
    await agent.startAll()
    expect(agent.get('a')).toMatchObject({ desired: 'fenced', state: 'stopped', pid: null })
    await expect(agent.start('a')).rejects.toMatchObject({ code: 'conflict' })
    expect((await agent.start('a', { unfence: true })).state).toBe('running')
  })
})

async function listen(port: number): Promise<Server> {
  const server = createServer().listen(port, '127.0.0.1')
  await once(server, 'listening')
  return server
}
