// Compares what a server and a router answered to the same script, message by message and byte by byte, but for the
// differences that allowed-differences.json lists with their reasons.
import { readFileSync } from 'node:fs'
import { Type, type Static } from 'typebox'
import { Value } from 'typebox/value'
import { decodeServerError } from '@fleetshard/routing/pgwire'
import type { Received } from '../wire/connection.ts'
import { surprises, type Answered } from '../wire/run.ts'

const AllowedSchema = Type.Object(
  {
    /** Name of a rule of this file → why. */
    everywhere: Type.Record(Type.String(), Type.String()),
    /** Name of a case → why, and the letters that the router answers with instead, by step. */
    cases: Type.Record(
      Type.String(),
      Type.Object(
        { reason: Type.String(), answers: Type.Record(Type.String(), Type.String()) },
        { additionalProperties: false },
      ),
    ),
    /** Cases that the router does not answer as it should yet → what is wrong. They must fail. */
    defects: Type.Record(Type.String(), Type.String()),
    /** Way → case of drivers → why these drivers can't do it there: it must be refused then. */
    drivers: Type.Record(
      Type.String(),
      Type.Record(
        Type.String(),
        Type.Object(
          { reason: Type.String(), drivers: Type.Array(Type.String()) },
          { additionalProperties: false },
        ),
      ),
    ),
  },
  { additionalProperties: false },
)

/** What may differ. */
export type Allowed = Static<typeof AllowedSchema>

/** Reads allowed-differences.json. @throws Error for a rule without code here */
export function loadAllowed(): Allowed {
  const file = new URL('allowed-differences.json', import.meta.url)
  const allowed = Value.Parse(AllowedSchema, JSON.parse(readFileSync(file, 'utf8')))
  for (const name of Object.keys(allowed.everywhere))
    if (!(name in rules)) throw new Error(`allowed-differences.json names the unknown rule ${name}`)
  return allowed
}

type Rule = (message: Received, other: Received | undefined) => Received | null

/** What each rule makes of a message before it is compared; null leaves it out. `parameter-order` sorts instead. */
const rules: Readonly<Record<string, Rule>> = {
  login: (message) => (message.letter === 'R' ? null : message),
  'backend-key': (message) => (message.letter === 'K' ? { ...message, bytes: Buffer.from('K') } : message),
  'own-parameters': (message) =>
    message.letter === 'S' && message.bytes.includes('fleetshard.', 5) ? null : message,
  'parameter-order': (message) => message,
  'notification-sender': (message) => {
    if (message.letter !== 'A') return message
    const bytes = Buffer.from(message.bytes)
    bytes.fill(0, 5, 9)
    return { ...message, bytes }
  },
  'error-origin': (message, other) =>
    isError(message) && (!hasOrigin(message) || (other !== undefined && isError(other) && !hasOrigin(other)))
      ? { ...message, bytes: withoutOrigin(message.bytes) }
      : message,
  'aborted-first': (message, other) =>
    message.letter === 'E' && other?.letter === 'E' && isAborted(message, other)
      ? { ...message, bytes: Buffer.from('E25P02') }
      : message,
}

/** SQLSTATEs that a Bind may have for the same reasons, in a transaction that has failed. */
const aborted = ['25P02', '08P01']

function isAborted(one: Received, other: Received): boolean {
  const [code, otherCode] = [one, other].map(({ bytes }) => decodeServerError(bytes, 0, bytes.length).code)
  return (
    (code === '25P02' || otherCode === '25P02') &&
    [code, otherCode].every((each) => aborted.includes(each ?? ''))
  )
}

/** What the router adds to an error of its own. */
const ownDetail = /^Dfleetshard: /

function isError({ letter }: Received): boolean {
  return letter === 'E' || letter === 'N'
}

function hasOrigin({ bytes }: Received): boolean {
  return decodeServerError(bytes, 0, bytes.length).line !== undefined
}

function withoutOrigin(bytes: Buffer): Buffer {
  const fields = bytes.toString('latin1', 5).split('\0')
  return Buffer.from(
    fields.filter((field) => !/^[FLR]/.test(field) && !ownDetail.test(field)).join('\0'),
    'latin1',
  )
}

/** Differences in words, empty where there are none. */
export function differences(
  name: string,
  direct: Answered,
  routed: Answered,
  allowed: Allowed,
): readonly string[] {
  const exception = allowed.cases[name]
  if (exception !== undefined) {
    const answers = routed.answers.map((answer) => ({
      ...answer,
      want: exception.answers[String(answer.step)] ?? answer.want,
    }))
    return surprises({ ...routed, answers })
  }
  return [
    ...compared('login', sorted(direct.greeting, allowed), sorted(routed.greeting, allowed), allowed),
    ...direct.answers.flatMap(({ step, received }, index) =>
      compared(
        `step ${String(step)}`,
        sorted(received, allowed),
        sorted(routed.answers[index]?.received ?? [], allowed),
        allowed,
      ),
    ),
  ]
}

/** Settings that are reported one behind the other are put in one order. */
function sorted(messages: readonly Received[], allowed: Allowed): readonly Received[] {
  if (!('parameter-order' in allowed.everywhere)) return messages
  const inOrder = [...messages]
  for (let from = 0; from < inOrder.length; from += 1) {
    let to = from
    while (inOrder[to]?.letter === 'S') to += 1
    const run = inOrder
      .slice(from, to)
      .toSorted((a, b) => Buffer.compare(a.bytes.subarray(5), b.bytes.subarray(5)))
    inOrder.splice(from, run.length, ...run)
    from = to
  }
  return inOrder
}

function compared(
  where: string,
  direct: readonly Received[],
  routed: readonly Received[],
  allowed: Allowed,
): string[] {
  const names = Object.keys(allowed.everywhere)
  const [one, other] = [toCompare(direct, names), toCompare(routed, names)]
  const [want, got] = [leftOver(one, other, names), leftOver(other, one, names)]
  const at = want.findIndex((message, index) => !same(message, got[index]))
  if (at === -1 && want.length === got.length) return []
  const first = at === -1 ? want.length : at
  return [
    `${where}: ${letters(want)} became ${letters(got)}`,
    `  message ${String(first + 1)}, expected: ${describe(want[first])}`,
    `  message ${String(first + 1)}, received: ${describe(got[first])}`,
  ]
}

/** Without what is left out: the others stand beside those that they are compared with. */
function toCompare(messages: readonly Received[], names: readonly string[]): Received[] {
  return messages.filter((message) => names.every((name) => rules[name]?.(message, undefined) !== null))
}

function leftOver(
  messages: readonly Received[],
  others: readonly Received[],
  names: readonly string[],
): readonly Received[] {
  return messages.flatMap((message, index) => {
    let kept: Received | null = message
    for (const name of names) kept = kept === null ? null : (rules[name]?.(kept, others[index]) ?? null)
    return kept === null ? [] : [kept]
  })
}

function same(one: Received, other: Received | undefined): boolean {
  return other !== undefined && one.letter === other.letter && one.bytes.equals(other.bytes)
}

/** Letters with repetitions counted: `TD×5CZ`. */
function letters(messages: readonly Received[]): string {
  const all = messages.map(({ letter }) => letter).join('')
  return all === ''
    ? 'nothing'
    : all.replace(/(.)\1{3,}/g, (run, letter: string) => `${letter}×${String(run.length)}`)
}

const shownBytesMax = 300

function describe(message: Received | undefined): string {
  if (message === undefined) return 'nothing'
  const body = message.bytes.toString('utf8', 5, shownBytesMax)
  return `${message.letter} ${JSON.stringify(body)}${message.bytes.length > shownBytesMax ? ' …' : ''}`
}
