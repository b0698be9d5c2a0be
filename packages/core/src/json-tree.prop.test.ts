// The tree reader against the platform's parser: the same values, and refusals at the right place.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { JsonSyntaxError, parseJsonTree, positionOf, type JsonNode } from './json-tree.ts'

function plain(node: JsonNode): unknown {
  switch (node.kind) {
    case 'object':
      return Object.fromEntries(node.members.map(({ name, value }) => [name, plain(value)]))
    case 'array':
      return node.items.map(plain)
    case 'null':
      return null
    default:
      return node.value
  }
}

function refusal(text: string): JsonSyntaxError {
  try {
    parseJsonTree(text)
  } catch (error) {
    if (error instanceof JsonSyntaxError) return error
    throw error
  }
  throw new Error('nothing was refused')
}

describe('a JSON text', () => {
  it('has the values that the platform reads', () => {
    fc.assert(
      fc.property(
        fc.json({ maxDepth: 5, noUnicodeString: false }),
        fc.constantFrom('', ' ', '\r\n\t'),
        (text, gap) => {
          fc.pre(!text.includes('__proto__'))
          expect(plain(parseJsonTree(gap + text + gap))).toEqual(JSON.parse(text))
        },
      ),
    )
  })

  it('is refused whenever the platform refuses it, and for nothing else but a field given twice', () => {
    const noise = fc.string({ unit: fc.constantFrom(...Array.from('{}[],:"ab1-.e \n\\tru')), maxLength: 12 })
    fc.assert(
      fc.property(noise, (text) => {
        let expected: unknown
        try {
          expected = JSON.parse(text)
        } catch {
          expect(() => parseJsonTree(text)).toThrow(JsonSyntaxError)
          return
        }
        try {
          expect(plain(parseJsonTree(text))).toEqual(expected)
        } catch (error) {
          expect(String(error)).toContain('there twice')
        }
      }),
      { numRuns: 3_000 },
    )
  })

  it.each([
    ['{"a": 1,\n "b" 2}', 2, 6, 'a colon'],
    ['{"a": 1\n "b": 2}', 2, 2, 'a comma or a closing }'],
    ['[1,\n2,]', 2, 3, 'a value is missing'],
    ['{"a": 1,}', 1, 9, 'double quotes'],
    ['{"a": "x\n"}', 1, 7, 'no closing quote'],
    ['{"a": 1} x', 1, 10, 'follows the end'],
    ['{"a": ', 1, 7, 'ends too early'],
    ['{"a": 1, "a": 2}', 1, 10, 'there twice'],
    ['{"a": "\\x"}', 1, 7, 'escape'],
    ['['.repeat(20), 1, 18, 'too deep'],
  ])('refuses %j at line %i, column %i', (text, line, column, message) => {
    const error = refusal(text)
    expect(error.message).toContain(message)
    expect(positionOf(text, error.at)).toEqual({ line, column })
  })

  it('never quotes a value in an error', () => {
    expect(refusal('{"password": "hun"ter2"}').message).not.toMatch(/hun|ter/)
    expect(refusal('{"password": hunter2}').message).not.toContain('hunter')
  })

  it('may be long', () => {
    const long = 'x'.repeat(3_000_000)
    expect(plain(parseJsonTree(JSON.stringify([long, '\\'.repeat(100_000)])))).toEqual([
      long,
      '\\'.repeat(100_000),
    ])
  })
})
