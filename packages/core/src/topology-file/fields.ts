// Reads the fields of objects in a topology file: each reader gives the value or notes what is wrong with it, so that
// one look at a file finds all of its mistakes.
import { didYouMean } from '../suggest.ts'
import type { JsonNode } from '../json-tree.ts'

/** Something wrong in a file. `at` is the offset of what it is about. */
export interface Mistake {
  readonly at: number
  readonly message: string
  readonly hint?: string
}

/** Where mistakes are noted. */
export type NoteMistake = (mistake: Mistake) => void

/** One object of the file under reading. */
export interface Fields {
  /** How messages call it: `shards[0].primary`. */
  readonly path: string
  readonly at: number
  readonly note: NoteMistake
  /** Offset of a field's value; of the object where it is left out. */
  where(name: string): number
  /** The node of a field; undefined where it is left out. */
  node(name: string): JsonNode | undefined
}

/** Longest text of a field. */
const textCharsMax = 1_024

/** The fields of an object; null, with a note, for something else. Unknown fields are noted. */
export function fieldsOf(
  node: JsonNode,
  path: string,
  known: readonly string[],
  note: NoteMistake,
): Fields | null {
  if (node.kind !== 'object') {
    note({ at: node.at, message: `${path} must be an object { … }, not ${nameOfKind(node)}` })
    return null
  }
  for (const { name, at } of node.members) {
    if (known.includes(name)) continue
    const shown = JSON.stringify(name.slice(0, 60))
    note({
      at,
      message: `${path} has the unknown field ${shown}`,
      hint: didYouMean(name, known) ?? `its fields are ${known.join(', ')}`,
    })
  }
  const members = new Map(node.members.map(({ name, value }) => [name, value]))
  return {
    path,
    at: node.at,
    note,
    where: (name) => members.get(name)?.at ?? node.at,
    node: (name) => members.get(name),
  }
}

/** A required field's node; undefined, with a note, where it is left out. */
export function required(fields: Fields, name: string, example: string): JsonNode | undefined {
  const node = fields.node(name)
  if (node === undefined) {
    fields.note({
      at: fields.at,
      message: `${fields.path} lacks the field "${name}"`,
      hint: `add ${example}`,
    })
  }
  return node
}

/** A text that is not empty; undefined where it is left out, or is something else, which is noted. */
export function textField(fields: Fields, name: string): string | undefined {
  const node = fields.node(name)
  if (node === undefined) return undefined
  const path = `${fields.path}.${name}`
  if (node.kind !== 'text') {
    fields.note({ at: node.at, message: `${path} must be a text in double quotes, not ${nameOfKind(node)}` })
  } else if (node.value === '' || node.value.length > textCharsMax || /[\0\n]/.test(node.value)) {
    fields.note({
      at: node.at,
      message: `${path} must be a text of 1 to ${String(textCharsMax)} characters on one line`,
    })
  } else {
    return node.value
  }
  return undefined
}

/** A required text. */
export function requiredText(fields: Fields, name: string, example: string): string | undefined {
  return required(fields, name, example) === undefined ? undefined : textField(fields, name)
}

/** A whole number; undefined where it is left out, or is something else, which is noted. */
export function integerField(
  fields: Fields,
  name: string,
  range: { readonly min: number; readonly max: number },
): number | undefined {
  const node = fields.node(name)
  if (node === undefined) return undefined
  const { min, max } = range
  if (node.kind === 'number' && Number.isInteger(node.value) && node.value >= min && node.value <= max) {
    return node.value
  }
  const found = node.kind === 'number' ? String(node.value) : nameOfKind(node)
  fields.note({
    at: node.at,
    message: `${fields.path}.${name} must be a whole number from ${String(min)} to ${String(max)}, not ${found}`,
  })
  return undefined
}

/** One of a few words; undefined where it is left out, or is something else, which is noted. */
export function wordField<T extends string>(
  fields: Fields,
  name: string,
  words: readonly T[],
): T | undefined {
  const text = textField(fields, name)
  if (text === undefined) return undefined
  const found = words.find((word) => word === text)
  if (found !== undefined) return found
  const hint = didYouMean(text, words)
  fields.note({
    at: fields.where(name),
    message: `${fields.path}.${name} must be one of ${words.join(', ')}, not ${JSON.stringify(text.slice(0, 60))}`,
    ...(hint === undefined ? {} : { hint }),
  })
  return undefined
}

/** The items of a list, at most `max`; none where it is left out, or is something else, which is noted. */
export function listField(fields: Fields, name: string, max: number): readonly JsonNode[] {
  const node = fields.node(name)
  if (node === undefined) return []
  const path = `${fields.path}.${name}`
  if (node.kind !== 'array') {
    fields.note({ at: node.at, message: `${path} must be a list [ … ], not ${nameOfKind(node)}` })
    return []
  }
  if (node.items.length > max) {
    fields.note({
      at: node.at,
      message: `${path} has ${String(node.items.length)} items; ${String(max)} are allowed`,
    })
    return []
  }
  return node.items
}

/** A value by its kind, never by itself: it may be a password in the wrong place. */
function nameOfKind({ kind }: JsonNode): string {
  switch (kind) {
    case 'object':
      return 'an object'
    case 'array':
      return 'a list'
    case 'null':
      return 'null'
    default:
      return `a ${kind}`
  }
}
