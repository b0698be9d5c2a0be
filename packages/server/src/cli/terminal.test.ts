import { PassThrough, Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { processTerminal, type StandardStreams } from './terminal.ts'

function terminalOver(stdout: Writable) {
  const streams = { stdin: new PassThrough(), stdout, stderr: new PassThrough() }
  return processTerminal(streams as unknown as StandardStreams)
}

const failing = (code: string): Writable =>
  new Writable({
    write: (_chunk, _encoding, done) => {
      done(Object.assign(new Error('no'), { code }))
    },
  })

test.each(['EPIPE', 'ENOSPC'])('a write that fails with %s is kept, not thrown', async (code) => {
  const stdout = failing(code)
  const terminal = terminalOver(stdout)
  expect(terminal.outError()).toBeNull()
  const { promise, resolve } = Promise.withResolvers<undefined>()
  stdout.on('close', () => {
    resolve(undefined)
  })
  terminal.out('text')
  await promise
  expect(terminal.outError()).toBe(code)
})
