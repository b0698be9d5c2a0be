// What is done to the messages of a session before they are fed to a decoder or a server.
import { messageHeaderBytes } from '@fleetshard/routing/pgwire'
import type { Random } from './random.ts'

/** Lengths and counts that break careless code. */
const odd32 = [
  0, 1, 3, 4, 5, 0x7f, 0xff, 0xffff, 0x10000, 0x3fffffff, 0x40000000, 0x7fffffff, 0x80000000, 0xffffffff,
]
const odd16 = [0, 1, 2, 0x7f, 0xff, 0x7fff, 0x8000, 0xffff]
/** Longest list of messages of one mutated stream. */
const messagesMax = 24
const mutationsMax = 4

type Mutation = (messages: Buffer[], random: Random, others: readonly Buffer[]) => void

/** A copy of some neighbouring messages, changed in one to four ways. */
export function mutate(messages: readonly Buffer[], random: Random, others: readonly Buffer[]): Buffer[] {
  const from = random.chance(0.5) ? 0 : random.below(messages.length)
  const mutated = messages
    .slice(from, from + 1 + random.below(messagesMax))
    .map((message) => Buffer.from(message))
  const count = 1 + random.below(mutationsMax)
  for (let done = 0; done < count; done += 1) random.pick(mutations)(mutated, random, others)
  return mutated
}

/** Cuts a stream into chunks, mostly small ones. */
export function chunks(stream: Buffer, random: Random): Buffer[] {
  const cuts: Buffer[] = []
  const largest = random.pick([1, 3, 8, 64, 1024, 65_536])
  for (let at = 0; at < stream.length;) {
    const end = Math.min(stream.length, at + 1 + random.below(largest))
    cuts.push(stream.subarray(at, end))
    at = end
  }
  return cuts
}

function index(messages: readonly Buffer[], random: Random): number {
  return random.below(messages.length)
}

/** Changes bytes of one message in place. */
function edit(change: (message: Buffer, random: Random) => void): Mutation {
  return (messages, random) => {
    const message = messages[index(messages, random)]
    if (message !== undefined && message.length > 0) change(message, random)
  }
}

/** Puts something else in the place of one message. */
function replace(change: (message: Buffer, random: Random, others: readonly Buffer[]) => Buffer): Mutation {
  return (messages, random, others) => {
    const at = index(messages, random)
    const message = messages[at]
    if (message !== undefined) messages[at] = change(message, random, others)
  }
}

function write32(message: Buffer, at: number, value: number): void {
  if (at + 4 <= message.length) message.writeUInt32BE(value >>> 0, at)
}

/** Sets the length to what the message has, so that a change of its body reaches the decoder. */
function mended(message: Buffer): Buffer {
  if (message.length >= messageHeaderBytes) message.writeUInt32BE(message.length - 1, 1)
  return message
}

const mutations: readonly Mutation[] = [
  // Bits and bytes
  edit((message, random) => {
    const at = random.below(message.length)
    message[at] = (message[at] ?? 0) ^ (1 << random.below(8))
  }),
  edit((message, random) => {
    message[random.below(message.length)] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256)])
  }),
  edit((message, random) => {
    for (let at = 0; at < message.length; at += 1) if (random.chance(0.05)) message[at] = random.below(256)
  }),
  // Terminators of texts
  edit((message) => {
    const zero = message.indexOf(0, messageHeaderBytes)
    if (zero !== -1) message[zero] = 0x41
  }),
  // The type
  edit((message, random) => {
    message[0] = random.chance(0.7)
      ? random.pick(Array.from('BCDEFHPQSXcdfpRKTZNAvtnsIGW123')).charCodeAt(0)
      : random.below(256)
  }),
  // The length, and numbers within
  edit((message, random) => {
    write32(message, 1, random.chance(0.5) ? message.length - 1 + random.below(9) - 4 : random.pick(odd32))
  }),
  edit((message, random) => {
    write32(message, messageHeaderBytes + random.below(Math.max(1, message.length - 8)), random.pick(odd32))
  }),
  edit((message, random) => {
    const at = messageHeaderBytes + random.below(Math.max(1, message.length - 6))
    if (at + 2 <= message.length) message.writeUInt16BE(random.pick(odd16), at)
  }),
  // Size
  replace((message, random) => message.subarray(0, random.below(message.length))),
  replace((message, random) =>
    mended(Buffer.from(message.subarray(0, messageHeaderBytes + random.below(message.length)))),
  ),
  replace((message, random) => mended(Buffer.concat([message, random.bytes(1 + random.below(40))]))),
  replace((message, random) => Buffer.concat([message, random.bytes(1 + random.below(40))])),
  // Splices
  replace((message, random, others) => {
    const other = random.pick(others)
    const head = message.subarray(0, random.below(message.length))
    const joined = Buffer.concat([head, other.subarray(random.below(other.length))])
    return random.chance(0.5) ? mended(joined) : joined
  }),
  replace((message, random, others) => Buffer.concat([message, random.pick(others)])),
  // Order
  (messages, random) => {
    const message = messages[index(messages, random)]
    if (message !== undefined) messages.splice(index(messages, random), 0, Buffer.from(message))
  },
  (messages, random) => {
    const [taken] = messages.splice(index(messages, random), 1)
    if (taken !== undefined) messages.splice(index(messages, random), 0, taken)
  },
  (messages, random) => {
    if (messages.length > 1) messages.splice(index(messages, random), 1)
  },
  (messages, random, others) => {
    messages.splice(index(messages, random), 0, Buffer.from(random.pick(others)))
  },
]
