import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Agent } from './agent.ts'
import type { ServerStatus } from './model.ts'
import { identifyProcess } from './proc.ts'
import { makeTestFolder, openTestAgent, until, withSession } from './testing.ts'

let folder = ''
let child: ChildProcess | null = null
let agent: Agent | null = null
beforeEach(async () => {
  folder = await makeTestFolder()
})
afterEach(async () => {
  child?.kill('SIGKILL')
  await agent?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

/** An agent in a process of its own, which has a server `a`. */
async function superviseElsewhere(dieWithParent: 'yes' | 'no'): Promise<ServerStatus> {
  const script = new URL('supervise-fixture.ts', import.meta.url).pathname
  child = spawn(process.execPath, [script, folder, dieWithParent], { stdio: ['pipe', 'pipe', 'inherit'] })
  if (child.stdout === null) throw new Error('the fixture has no output')
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
  return JSON.parse(line) as ServerStatus
}

async function killSupervisor(): Promise<void> {
  child?.kill('SIGKILL')
  if (child !== null) await once(child, 'exit')
}

test('servers of an agent that was killed go on, and a new agent takes them over and supervises them', async () => {
  const before = await superviseElsewhere('no')
  await expect(openTestAgent(folder)).rejects.toMatchObject({ code: 'data_dir_in_use' })
  await killSupervisor()

  agent = await openTestAgent(folder)
  await agent.startAll()
  expect(agent.get('a')).toMatchObject({ pid: before.pid, port: before.port, state: 'running' })
  await withSession(await agent.endpoint('a'), (client) => client.query('SELECT 1'))

  process.kill(before.pid ?? 0, 'SIGKILL')
  await until('started again', () => agent?.get('a').state === 'running' && agent.get('a').pid !== before.pid)
  await agent.stop('a')
  expect(agent.get('a').state).toBe('stopped')
})

test('a server that listens elsewhere than the next agent is told to is started again there, with its data', async () => {
  const before = await superviseElsewhere('no')
  await killSupervisor()
  agent = await openTestAgent(folder, { listening: { address: '127.0.0.2', host: '127.0.0.2', tls: null } })
  await agent.startAll()
  const after = agent.get('a')
  expect(after).toMatchObject({ host: '127.0.0.2', port: before.port, state: 'running', tls: 'disable' })
  expect(after.pid).not.toBe(before.pid)
  expect(await identifyProcess(before.pid ?? 0)).toBe(null)
  const { tls: _tls, ...login } = await agent.endpoint('a')
  await withSession(login, (client) => client.query('SELECT 1'))
  await expect(withSession({ ...login, host: '127.0.0.1' }, async () => undefined)).rejects.toMatchObject({
    code: 'ECONNREFUSED',
  })
})

test('a server that was meant to stop when its agent was killed is ended by the next one', async () => {
  const { pid } = await superviseElsewhere('no')
  await killSupervisor()
  agent = await openTestAgent(folder)
  await agent.stop('a') // writes down what it should be doing; the process is not known yet
  await agent.startAll()
  expect(agent.get('a')).toMatchObject({ state: 'stopped', pid: null })
  expect(await identifyProcess(pid ?? 0)).toBe(null)
})

test.runIf(process.platform === 'linux')(
  'servers of tests end with a test process that is killed',
  async () => {
    const { pid } = await superviseElsewhere('yes')
    expect(await identifyProcess(pid ?? 0)).not.toBe(null)
    await killSupervisor()
    await until('the server is gone', async () => (await identifyProcess(pid ?? 0)) === null)
  },
)
