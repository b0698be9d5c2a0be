// The launcher as a process, also as an older Node would run it: a preloaded line claims another version.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

const launcher = new URL('../../bin/fleetshard.js', import.meta.url)

let root = ''
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'fleetshard-launcher-'))
  mkdirSync(join(root, 'packages/server/bin'), { recursive: true })
  mkdirSync(join(root, 'packages/server/src'), { recursive: true })
  copyFileSync(launcher, join(root, 'packages/server/bin/fleetshard.js'))
  writeFileSync(join(root, 'packages/server/package.json'), '{"type": "module"}')
  writeFileSync(
    join(root, 'packages/server/src/main.ts'),
    'const words: string[] = process.argv.slice(2)\nconsole.log("main", process.versions.node, ...words)\n',
  )
})
afterEach(() => {
  rmSync(root, { recursive: true, force: true })
})

/** Puts a node into node_modules/.bin that runs the shell script. */
function installNode(script: string): void {
  const folder = join(root, 'node_modules/.bin')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'node'), `#!/bin/sh\n${script}\n`)
  chmodSync(join(folder, 'node'), 0o755)
}

/** Starts the launcher on a Node that says it is that version. */
function start(version: string, ...words: readonly string[]): ChildProcess {
  const claim = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } })`
  const preload = `data:text/javascript,${encodeURIComponent(claim)}`
  return spawn(
    process.execPath,
    ['--import', preload, join(root, 'packages/server/bin/fleetshard.js'), ...words],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: '/usr/bin:/bin' },
    },
  )
}

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

async function ended(child: ChildProcess): Promise<Ended> {
  const text = { out: '', err: '' }
  child.stdout?.on('data', (chunk: Buffer) => (text.out += chunk.toString()))
  child.stderr?.on('data', (chunk: Buffer) => (text.err += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, ...text }
}

describe('the launcher', () => {
  test('gives a server little room for short-lived objects, as the same process', async () => {
    const main = 'console.log(process.pid, ...process.execArgv.filter((flag) => flag.startsWith("--max-")))\n'
    writeFileSync(join(root, 'packages/server/src/main.ts'), main)
    const router = start('24.0.0', 'router')
    expect(await ended(router)).toMatchObject({
      code: 0,
      out: `${String(router.pid)} --max-semi-space-size=4\n`,
    })
    const status = start('24.0.0', 'status')
    expect((await ended(status)).out).toBe(`${String(status.pid)}\n`)
  })

  test('runs the program itself on Node 24', async () => {
    installNode('echo must not run')
    expect(await ended(start('24.0.0', 'status', '-o', 'json'))).toMatchObject({
      code: 0,
      out: 'main 24.0.0 status -o json\n',
    })
  })

  test('runs itself again with the Node of the packages on Node 20, and passes words and code on', async () => {
    installNode('shift 2; shift; echo "again" "$@"; exit 7')
    expect(await ended(start('20.1.0', 'status', 'a b'))).toMatchObject({
      code: 7,
      out: 'again status a b\n',
    })
  })

  test('passes signals on, once, and ends as the child did', async () => {
    installNode('trap "echo stopped; exit 9" TERM; echo ready; while :; do sleep 0.05; done')
    const child = start('20.1.0', 'up')
    const outcome = ended(child)
    child.stdout?.once('data', () => child.kill('SIGTERM'))
    expect(await outcome).toMatchObject({ code: 9, out: 'ready\nstopped\n' })
  })

  test('tells by the exit code which signal ended the child', async () => {
    installNode('kill -KILL $$')
    expect((await ended(start('20.1.0'))).code).toBe(137)
  })

  test('says one cause and one command when there is no newer Node', async () => {
    const { code, out, err } = await ended(start('20.1.0'))
    expect([code, out]).toEqual([1, ''])
    expect(err).toMatch(/^error: FleetShard needs Node 24 or newer.*\nhint: run npm ci\n$/)
  })

  test('does not start a third when the Node of the packages is old too', async () => {
    installNode(`exec "${process.execPath}" "$@"`)
    const { code, err } = await ended(start('20.1.0'))
    expect([code, err.split('\n')[1]]).toEqual([1, 'hint: run npm ci'])
  })
})
