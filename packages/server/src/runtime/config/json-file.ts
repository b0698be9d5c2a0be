// The JSON configuration file as a flat list of settings with their lines, so that an error can name the line.
import { FleetError, JsonSyntaxError, parseJsonTree, positionOf, type JsonNode } from '@fleetshard/core'

/** One value of the file. `key` is dotted, whether it was written nested or dotted. */
export interface FileSetting {
  readonly key: string
  readonly value: string | number | boolean | null
  readonly line: number
}

/** Largest configuration file. */
export const configFileBytesMax = 1024 * 1024

/** A value of the file that settings may have, and where it stands. */
interface Found {
  readonly key: string
  readonly value: FileSetting['value']
  readonly at: number
}

/**
 * Reads `{"router": {"http-port": 8080}}` or `{"router.http-port": 8080}`.
 * @param name how messages call the file
 * @throws FleetError `invalid_config` with the file, line and what is wrong
 */
export function parseConfigFile(name: string, source: string): readonly FileSetting[] {
  const text = source.replace(/^\uFEFF/, '')
  try {
    const root = parseJsonTree(text)
    if (root.kind !== 'object') throw new JsonSyntaxError(root.at, 'the file must hold one object: { … }')
    const settings = withLines(text, settingsOf(root, ''))
    refuseTwice(name, settings)
    return settings
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error
    throw invalid(name, positionOf(text, error.at).line, error.message)
  }
}

function settingsOf(node: JsonNode & { readonly kind: 'object' }, prefix: string): readonly Found[] {
  return node.members.flatMap(({ name, value }): readonly Found[] => {
    const key = prefix + name
    switch (value.kind) {
      case 'object':
        return settingsOf(value, `${key}.`)
      case 'array':
        throw new JsonSyntaxError(value.at, `${key}: a list is not the value of any setting`)
      case 'null':
        return [{ key, value: null, at: value.at }]
      default:
        return [{ key, value: value.value, at: value.at }]
    }
  })
}

/** Values stand in the order of the file, so that its lines are counted once. */
function withLines(text: string, settings: readonly Found[]): readonly FileSetting[] {
  let line = 1
  let from = 0
  return settings.map(({ key, value, at }) => {
    for (; from < at; from += 1) if (text[from] === '\n') line += 1
    return { key, value, line }
  })
}

function refuseTwice(name: string, settings: readonly FileSetting[]): void {
  const lines = new Map<string, number>()
  for (const { key, line } of settings) {
    const before = lines.get(key)
    if (before !== undefined)
      throw invalid(name, line, `${key} is set twice, first on line ${String(before)}`)
    lines.set(key, line)
  }
}

function invalid(name: string, line: number, message: string): FleetError {
  return new FleetError('invalid_config', `${name}, line ${String(line)}: ${message}`, {
    hint: 'the file holds JSON such as {"router": {"http-port": 8080}}',
  })
}
