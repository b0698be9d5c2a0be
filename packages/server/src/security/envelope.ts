// Envelopes: each value is encrypted by a data key of its own, which is wrapped by a key that the catalog does not have.
import { randomBytes } from 'node:crypto'
import { decrypt, encrypt, type KeyService } from './key-service.ts'

const dataKeyBytes = 32

/** A value in its envelope; the texts are base64. */
export interface Envelope {
  /** Id of the key that the data key is wrapped with. */
  readonly key: string
  readonly dataKey: string
  readonly data: string
}

/** What puts values in envelopes and takes them out; a value belongs to its name. */
export interface EnvelopeSealer {
  seal(name: string, value: string, signal?: AbortSignal): Promise<Envelope>
  open(name: string, envelope: Envelope, signal?: AbortSignal): Promise<string>
  currentKey(signal?: AbortSignal): Promise<string>
}

/** By the keys of that service. All throw FleetError `secret_unavailable`. */
export function createEnvelopeSealer(service: KeyService): EnvelopeSealer {
  const contextOf = (name: string): string => `secret ${name}`
  return {
    async seal(name, value, signal) {
      const context = contextOf(name)
      const dataKey = randomBytes(dataKeyBytes)
      const { key, wrapped } = await service.wrap(dataKey, context, signal)
      const data = encrypt(dataKey, Buffer.from(value), context)
      return { key, dataKey: wrapped.toString('base64'), data: data.toString('base64') }
    },
    async open(name, { key, dataKey, data }, signal) {
      const context = contextOf(name)
      const own = await service.unwrap(key, Buffer.from(dataKey, 'base64'), context, signal)
      return decrypt(own, Buffer.from(data, 'base64'), context).toString('utf8')
    },
    currentKey: (signal) => service.current(signal),
  }
}
