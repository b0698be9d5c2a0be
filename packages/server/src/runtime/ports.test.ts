import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { flagOf, loadConfig, type ConfigKey, type GivenFlag } from './config/mod.ts'
import { findPortHolder } from './port-holder.ts'
import { choosePorts, listenError, machineProbe, portSearchMax, type PortProbe } from './ports.ts'

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

async function listening(host = '127.0.0.1'): Promise<number> {
  const server = createServer().listen(0, host)
  servers.push(server)
  await once(server, 'listening')
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** A machine on which these ports are taken by process 77. */
function machine(...taken: readonly number[]): PortProbe {
  let next = 40_000
  return {
    isFree: (_host, port) => Promise.resolve(!taken.includes(port)),
    holder: () => ({ pid: 77, command: 'java -jar' }),
    any: () => Promise.resolve((next += 1)),
  }
}

function config(given: Readonly<Partial<Record<ConfigKey, string>>> = {}) {
  const flags = new Map<ConfigKey, GivenFlag>()
  for (const key of ['router.http-port', 'manager.http-port'] as const) {
    const value = given[key]
    if (value !== undefined) flags.set(key, { flag: flagOf(key), value })
  }
  return loadConfig({ env: {}, flags })
}

const keys = ['router.http-port', 'manager.http-port', 'agent.port'] as const

describe('choosing ports', () => {
  test('takes the defaults when they are free', async () => {
    const chosen = await choosePorts(config(), keys, machine())
    expect(keys.map((key) => chosen.get(key))).toEqual([
      { key: 'router.http-port', port: 8080, instead: null },
      { key: 'manager.http-port', port: 8081, instead: null },
      { key: 'agent.port', port: 8082, instead: null },
    ])
  })

  test('a default that is taken gives way to the next that nobody else wants', async () => {
    const chosen = await choosePorts(config(), keys, machine(8080))
    expect(chosen.get('router.http-port')).toEqual({
      key: 'router.http-port',
      port: 8083,
      instead: { port: 8080, holder: { pid: 77, command: 'java -jar' } },
    })
    expect(chosen.get('manager.http-port')?.port).toBe(8081)
  })

  test('two defaults that are taken do not get the same port', async () => {
    const chosen = await choosePorts(config(), keys, machine(8080, 8081, 8082, 8083))
    expect(new Set(keys.map((key) => chosen.get(key)?.port)).size).toBe(3)
  })

  test('a port that was asked for is never replaced; the error names who holds it', async () => {
    await expect(
      choosePorts(config({ 'router.http-port': '9999' }), keys, machine(9999)),
    ).rejects.toMatchObject({
      code: 'port_taken',
      message: 'port 9999 on 127.0.0.1 is taken by process 77 (java -jar)',
      hint: 'stop it, or choose another port with --router-http-port',
    })
  })

  test('a default does not take a port that was asked for elsewhere', async () => {
    const taken = machine(8080, 8081, 8083)
    const chosen = await choosePorts(config({ 'manager.http-port': '8084' }), keys, taken)
    const ports = keys.map((key) => chosen.get(key)?.port)
    // 8082 is the agent's wish, 8084 the manager's.
    expect(ports).toEqual([8085, 8084, 8082])
  })

  test('the same port asked for twice is refused', async () => {
    const same = config({ 'router.http-port': '7000', 'manager.http-port': '7000' })
    await expect(choosePorts(same, keys, machine())).rejects.toMatchObject({ code: 'invalid_config' })
  })

  test('0 means any free port, different each time', async () => {
    const chosen = await choosePorts(
      config({ 'router.http-port': '0', 'manager.http-port': '0' }),
      keys,
      machine(),
    )
    expect([chosen.get('router.http-port')?.port, chosen.get('manager.http-port')?.port]).toEqual([
      40_001, 40_002,
    ])
  })

  test('gives up when a hundred ports in a row are taken', async () => {
    const taken = Array.from({ length: portSearchMax + 1 }, (_, index) => 8080 + index)
    await expect(choosePorts(config(), ['router.http-port'], machine(...taken))).rejects.toMatchObject({
      code: 'port_taken',
    })
  })
})

describe('the machine', () => {
  test('sees that a port is taken, also by a server on all addresses', async () => {
    expect(await machineProbe.isFree('127.0.0.1', await listening())).toBe(false)
    expect(await machineProbe.isFree('127.0.0.1', await listening('0.0.0.0'))).toBe(false)
    expect(await machineProbe.isFree('127.0.0.1', await machineProbe.any('127.0.0.1'))).toBe(true)
  })

  test.runIf(process.platform === 'linux')('names the process that listens', async () => {
    const holder = findPortHolder(await listening())
    expect(holder?.pid).toBe(process.pid)
    expect(holder?.command).toContain('node')
  })

  test('names nobody where it cannot be told', async () => {
    expect(findPortHolder(await listening(), '/nonexistent')).toBeNull()
    expect(findPortHolder(await machineProbe.any('127.0.0.1'))).toBeNull()
  })

  test('a failed listen becomes an error with the flag', () => {
    const failed = (code: string) =>
      listenError(Object.assign(new Error('x'), { code }), '--http-port', '10.9.9.9', 80)
    expect(failed('EADDRNOTAVAIL').message).toBe(
      'cannot listen on 10.9.9.9:80: this machine has no such address',
    )
    expect(failed('EACCES').message).toBe('cannot listen on 10.9.9.9:80: only root may listen on it')
    expect(failed('EADDRINUSE').hint).toContain('--http-port')
  })
})
