// Values in envelopes: opened by whoever has the key and asks for them by their name, and by nobody else.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { createEnvelopeSealer, type EnvelopeSealer } from './envelope.ts'
import { createLocalKeyService, makeKey } from './key-service.ts'

const folder = mkdtempSync(join(tmpdir(), 'fleetshard-keys-'))
afterAll(() => {
  rmSync(folder, { recursive: true })
})

const sealerOf = (...keys: string[]): EnvelopeSealer =>
  createEnvelopeSealer(createLocalKeyService({ kind: 'text', text: keys.join('\n') }))

/** An error of its code that does not tell what it guards. */
async function refusal(opening: Promise<string>, ...secrets: string[]): Promise<string> {
  const error: unknown = await opening.catch((caught: unknown) => caught)
  expect(error).toMatchObject({ code: 'secret_unavailable', hint: expect.any(String) as string })
  const { message, hint } = error as { message: string; hint: string }
  for (const secret of secrets) expect(`${message} ${hint} ${JSON.stringify(error)}`).not.toContain(secret)
  return `${message} ${hint}`
}

describe('an envelope', () => {
  it('gives back what was put in, and has nothing of it', async () => {
    const key = makeKey()
    for (const value of ['pässword', '', 'x'.repeat(10_000)]) {
      const sealed = await sealerOf(key).seal('node-a', value)
      expect(await sealerOf(key).open('node-a', sealed)).toBe(value)
      expect(value !== '' && JSON.stringify(sealed).includes(value)).toBe(false)
      const plain = Buffer.from(value).toString('base64')
      expect(value !== '' && JSON.stringify(sealed).includes(plain)).toBe(false)
    }
  })

  it('is another one for the same value, with a data key of its own', async () => {
    const sealer = sealerOf(makeKey())
    const [one, two] = [await sealer.seal('a', 'same'), await sealer.seal('a', 'same')]
    expect(one.key).toBe(two.key)
    expect(one.dataKey).not.toBe(two.dataKey)
    expect(one.data).not.toBe(two.data)
  })

  it('is not opened by another key, which the error names, and tells what to do', async () => {
    const [ours, theirs] = [makeKey(), makeKey()]
    const sealed = await sealerOf(ours).seal('node-a', 'password')
    const told = await refusal(sealerOf(theirs).open('node-a', sealed), 'password', ours, theirs)
    expect(told).toContain(sealed.key)
    expect(told).toContain(await sealerOf(theirs).currentKey())
    expect(told).toMatch(/add that key to/)
  })

  it('is not opened under another name, nor after a bit of it has changed', async () => {
    const sealer = sealerOf(makeKey())
    const sealed = await sealer.seal('node-a', 'password')
    await refusal(sealer.open('node-b', sealed), 'password')
    for (const field of ['data', 'dataKey'] as const) {
      const bytes = Buffer.from(sealed[field], 'base64')
      for (const at of [0, 15, bytes.length - 1]) {
        const changed = Buffer.from(bytes)
        changed.writeUInt8(changed.readUInt8(at) ^ 1, at)
        await refusal(sealer.open('node-a', { ...sealed, [field]: changed.toString('base64') }), 'password')
      }
      await refusal(sealer.open('node-a', { ...sealed, [field]: '' }), 'password')
    }
  })

  it('is opened by an old key behind the new one, which new envelopes are sealed with', async () => {
    const [old, fresh] = [makeKey(), makeKey()]
    const before = await sealerOf(old).seal('a', 'hidden')
    const both = sealerOf(fresh, old)
    expect(await both.open('a', before)).toBe('hidden')
    const after = await both.seal('a', 'hidden')
    expect(after.key).not.toBe(before.key)
    expect(await sealerOf(fresh).open('a', after)).toBe('hidden')
    await refusal(sealerOf(old).open('a', after), 'hidden')
  })
})

describe('the local key service', () => {
  it('reads its file at each use, comments and hex as well', async () => {
    const path = join(folder, 'keys')
    const sealer = createEnvelopeSealer(createLocalKeyService({ kind: 'file', path }))
    await expect(sealer.currentKey()).rejects.toMatchObject({ code: 'secret_unavailable' })
    const key = makeKey()
    writeFileSync(path, `# of this year\n${key}\n`)
    const sealed = await sealer.seal('a', 'hidden')
    writeFileSync(path, `${makeKey()} # the new one\n\n${Buffer.from(key, 'base64').toString('hex')}\n`)
    expect(await sealer.open('a', sealed)).toBe('hidden')
    expect(await sealer.currentKey()).not.toBe(sealed.key)
  })

  it.each([
    ['nothing', ''],
    ['a comment only', '# later'],
    ['a key that is too short', Buffer.alloc(16).toString('base64')],
    ['a password', 'correct horse battery staple'],
    ['too many', Array.from({ length: 17 }, makeKey).join('\n')],
  ])('refuses a text with %s', async (_what, text) => {
    await expect(sealerOf(text).seal('a', 'hidden')).rejects.toMatchObject({ code: 'secret_unavailable' })
    await refusal(sealerOf(text).open('a', { key: 'k', dataKey: '', data: '' }), 'correct horse')
  })
})
