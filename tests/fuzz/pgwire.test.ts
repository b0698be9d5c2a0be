// A short run of the fuzz, always the same; `npm run fuzz -- pgwire` goes further.
import { expect, test } from 'vitest'
import {
  MessageSplitter,
  decodeFrontend,
  decodeStartupRequest,
  messageHeaderBytes,
} from '@fleetshard/routing/pgwire'
import { loadCorpus } from './corpus.ts'
import { PgwireFuzz } from './pgwire.ts'

const messages = 20_000
/** `S` is Sync from one side and ParameterStatus from the other; the rest of the letters stand for themselves. */
const letters = /^[1-3ACDEGHIKNRSTVZcdnst]$/

test('what real clients and servers said is cut and read without a refusal', () => {
  for (const { login, fromClient, fromServer } of loadCorpus()) {
    const delivered: Buffer[] = []
    const splitter = new MessageSplitter(
      {
        message(type, buf, start, end) {
          delivered.push(Buffer.from(buf.subarray(start, end)))
          if (type !== 0) return
          if (decodeStartupRequest(buf, start, end).kind === 'startup') splitter.startupDone()
        },
        acceptsPieces: () => false,
        piece: () => undefined,
      },
      { startup: login },
    )
    splitter.feed(Buffer.concat(fromClient))
    expect(delivered).toEqual(fromClient)
    for (const message of fromServer) expect(String.fromCharCode(message[0] ?? 0)).toMatch(letters)
  }
})

test('the messages of a recorded client mean the same after any cut', () => {
  const sessions = loadCorpus().filter(({ name }) => name.includes('extended: '))
  expect(sessions.length).toBeGreaterThan(50)
  for (const { fromClient, login } of sessions) {
    for (const message of login ? fromClient.slice(1) : fromClient) {
      const type = message[0] ?? 0
      const once = decodeFrontend(type, message, 0, message.length)
      const shifted = Buffer.concat([Buffer.alloc(3, 0xff), message, Buffer.alloc(3, 0xff)])
      expect(decodeFrontend(type, shifted, 3, 3 + message.length)).toEqual(once)
      if (message.length > messageHeaderBytes)
        expect(() => decodeFrontend(type, message, 0, message.length - 1)).toThrow()
    }
  }
})

test('mutated sessions are refused or read, never anything else', () => {
  const fuzz = new PgwireFuzz(loadCorpus(), 20_240_229)
  while (fuzz.counts.messages < messages) fuzz.next()
  expect(fuzz.counts.violations).toBeGreaterThan(messages / 20)
  expect(fuzz.counts.decoded).toBeGreaterThan(messages / 4)
})
