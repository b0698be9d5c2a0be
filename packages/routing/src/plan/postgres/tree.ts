// Reading the parse tree of libpg-query. Nodes are looked at as untyped JSON: the tree is outside data to us, and
// these readers are the only way into it.

/** A JSON object of the tree. */
export type TreeObject = Readonly<Record<string, unknown>>

/** The value as an object, or null. */
export function asObject(value: unknown): TreeObject | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as TreeObject) : null
}

/** The value as an array; empty when it isn't one. */
export function asArray(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as readonly unknown[]) : []
}

/** The string under `name`, or null. */
export function textOf(node: TreeObject | null, name: string): string | null {
  const value = node?.[name]
  return typeof value === 'string' ? value : null
}

/** The object under `name`, or null. */
export function childOf(node: TreeObject | null, name: string): TreeObject | null {
  return asObject(node?.[name])
}

/** Nodes are wrapped as `{ Kind: { … } }`: the kind and the body. */
export function unwrap(value: unknown): { kind: string; body: TreeObject } | null {
  const node = asObject(value)
  if (node === null) return null
  for (const kind in node) {
    const body = asObject(node[kind])
    return body === null ? null : { kind, body }
  }
  return null
}

/** The body if the wrapped node is of that kind. */
export function bodyOf(value: unknown, kind: string): TreeObject | null {
  return childOf(asObject(value), kind)
}

/** A list of String nodes as texts; anything else in it as an empty text. */
export function namesOf(value: unknown): string[] {
  return asArray(value).map((item) => textOf(bodyOf(item, 'String'), 'sval') ?? '')
}
