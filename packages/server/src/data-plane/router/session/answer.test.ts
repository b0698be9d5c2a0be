// What of an answer can still be taken back when it ends.
import { backendCode, WireWriter } from '@fleetshard/routing/pgwire'
import { expect, it } from 'vitest'
import { ClientOutput, OutputBuffers } from '../listeners/pgwire/output.ts'
import { Answer, step } from './answer.ts'

function answer() {
  const sent: Buffer[] = []
  const socket = {
    write: (bytes: Uint8Array) => sent.push(Buffer.from(bytes)) > 0,
    writableLength: 0,
    destroyed: false,
    once: () => undefined,
  }
  const output = new ClientOutput(socket, new OutputBuffers())
  const host = { lagging: () => undefined, copyIn: () => undefined, ended: () => undefined }
  const sink = new Answer({ output, host, wantsTags: false })
  sink.expect([step.forward, step.forward, step.describePortal, step.execute])
  const takes = (type: number, body = ''): void => {
    const out = new WireWriter()
    const offset = out.begin(type)
    out.raw(Buffer.from(body, 'latin1'))
    out.end(offset)
    const bytes = Buffer.from(out.bytes())
    sink.message(type, bytes, 0, bytes.length)
  }
  return { sink, takes, said: () => Buffer.concat(sent).toString('latin1') }
}

/** All that the reads of one turn have brought is through. */
const endOfTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const refusal = 'SERROR\0VERROR\0CFS001\0Mthe rows have moved\0\0'

it('keeps back what came with an error until the end, which may come in another packet', async () => {
  const { sink, takes, said } = answer()
  for (const type of [backendCode.parseComplete, backendCode.bindComplete, backendCode.noData]) takes(type)
  takes(backendCode.errorResponse, refusal)
  await endOfTurn()
  expect(said()).toBe('')
  takes(backendCode.readyForQuery, 'E')
  sink.done('failed')
  expect([sink.sqlstate, sink.takeBack()]).toEqual(['FS001', true])
  await endOfTurn()
  expect(said()).toBe('')
})

it('tells it at the end where nobody takes it back', async () => {
  const { sink, takes, said } = answer()
  takes(backendCode.parseComplete)
  takes(backendCode.errorResponse, refusal)
  await endOfTurn()
  takes(backendCode.readyForQuery, 'E')
  sink.done('failed')
  await endOfTurn()
  expect(said()).toContain('CFS001')
  expect(said()[0]).toBe('1')
  expect(sink.takeBack()).toBe(false)
})

it('tells it when the connection is lost behind it', async () => {
  const { sink, takes, said } = answer()
  takes(backendCode.errorResponse, refusal)
  await endOfTurn()
  sink.failed(new Error('lost') as never, true)
  await endOfTurn()
  expect(said()).toContain('CFS001')
})
