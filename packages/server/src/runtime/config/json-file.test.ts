import { FleetError } from '@fleetshard/core'
import { expect, test } from 'vitest'
import { parseConfigFile } from './json-file.ts'

function message(source: string): string {
  try {
    parseConfigFile('f.json', source)
  } catch (error) {
    if (error instanceof FleetError && error.code === 'invalid_config') return error.message
  }
  throw new Error(`${source} was read`)
}

test('reads nested and dotted names, with the line of each value', () => {
  const source =
    '{\n "router": { "http-port": 8080,\n   "id": "r\\u00e9" },\n "log.level": "debug", "x": true, "y": -1.5e2 }\n'
  expect(parseConfigFile('f.json', source)).toEqual([
    { key: 'router.http-port', value: 8080, line: 2 },
    { key: 'router.id', value: 'ré', line: 3 },
    { key: 'log.level', value: 'debug', line: 4 },
    { key: 'x', value: true, line: 4 },
    { key: 'y', value: -150, line: 4 },
  ])
})

test('reads an empty object and a byte order mark', () => {
  expect(parseConfigFile('f.json', '\uFEFF {} ')).toEqual([])
})

test.each([
  ['', 'f.json, line 1: the file ends too early'],
  ['[]', 'f.json, line 1: the file must hold one object: { … }'],
  ['{\n"a": 1\n"b": 2}', 'f.json, line 3: a comma or a closing } is missing'],
  ['{"a" 1}', 'f.json, line 1: a colon is missing'],
  ['{"a": 1,}', 'f.json, line 1: a name in double quotes is missing (a comma too many before it?)'],
  ["{\n'a': 1}", 'f.json, line 2: a name in double quotes is missing (a comma too many before it?)'],
  ['{"a": "open}', 'f.json, line 1: a text has no closing quote on its line'],
  ['{"a": [1]}', 'f.json, line 1: a: a list is not the value of any setting'],
  ['{"a": nul}', 'f.json, line 1: a value is missing'],
  ['{"a": 01}', 'f.json, line 1: a comma or a closing } is missing'],
  ['{"a": "\\q"}', 'f.json, line 1: a text has a character or an escape that JSON does not allow'],
  ['{"a": 1} x', 'f.json, line 1: something follows the end of the object'],
  ['{"a": {"b": 1},\n "a.b": 2}', 'f.json, line 2: a.b is set twice, first on line 1'],
  ['{"a": 1,\n "a": 2}', 'f.json, line 2: the field "a" is there twice'],
  ['{"a": 1', 'f.json, line 1: a comma or a closing } is missing'],
])('says what is wrong with %j', (source, wanted) => {
  expect(message(source)).toBe(wanted)
})

test('never quotes a value, which may be a password', () => {
  expect(message('{"catalog": {"password": "hun"ter2"}}')).not.toMatch(/hun|ter/)
})

test('refuses objects that lie too deep in each other', () => {
  expect(message('{"a":'.repeat(5000))).toContain('too deep')
})
