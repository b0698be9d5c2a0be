import { describe, expect, test } from 'vitest'
import { plainStyle, styleFor } from './style.ts'
import { formatDetails, formatTable, type Column } from './table.ts'
import { fit, printable, widthOf } from './width.ts'
import { toYaml } from './yaml.ts'

interface City {
  readonly name: string
  readonly people: number | null
  readonly note: string
}
const cities: readonly City[] = [
  { name: 'Tokyo 東京', people: 13_960_000, note: 'capital' },
  { name: 'São Paulo', people: null, note: '' },
]
const columns: readonly Column<City>[] = [
  { header: 'NAME', cell: (city) => city.name },
  { header: 'PEOPLE', cell: (city) => city.people, align: 'right' },
  { header: 'NOTE', cell: (city) => city.note, wide: true },
]

describe('a table', () => {
  test('aligns columns by the cells that characters take', () => {
    expect(formatTable(columns, cities)).toBe(
      ['NAME          PEOPLE', 'Tokyo 東京  13960000', 'São Paulo          -', ''].join('\n'),
    )
  })

  test('shows wide columns when asked', () => {
    expect(formatTable(columns, cities, { wide: true }).split('\n')[1]).toBe('Tokyo 東京  13960000  capital')
  })

  test('has no spaces at the ends of lines', () => {
    expect(formatTable(columns, cities, { wide: true })).not.toMatch(/ $/m)
  })

  test('cuts the widest column first, never one to copy, and fits the terminal', () => {
    const wide: readonly Column<readonly [string, string]>[] = [
      { header: 'ID', cell: ([id]) => id, whole: true },
      { header: 'TEXT', cell: ([, text]) => text },
    ]
    const table = formatTable(wide, [['0123456789-0123456789', 'x'.repeat(100)]], { cells: 40 })
    expect(table.split('\n')[1]).toBe(`0123456789-0123456789  ${'x'.repeat(16)}…`)
    expect(Math.max(...table.split('\n').map(widthOf))).toBe(40)
  })

  test('colours cells, and only there where they are', () => {
    const painted: readonly Column<City>[] = [
      { header: 'N', cell: (city) => city.name, paint: (_city, style) => style.red },
    ]
    const style = styleFor(true, {})
    expect(formatTable(painted, [{ name: 'a', people: 0, note: '' }], { style })).toBe(
      '\u001b[1mN\u001b[22m\n\u001b[31ma\u001b[39m\n',
    )
  })

  test('shows control characters of data instead of obeying them', () => {
    const table = formatTable([{ header: 'X', cell: (text: string) => text }], ['a\u001b[2Jb\nc\u202e'])
    expect(table).toBe('X\na\\x1b[2Jb\\nc\\u202e\n')
  })
})

test('details stand under each other', () => {
  expect(
    formatDetails([
      ['id', 's-1'],
      ['status', ''],
    ]),
  ).toBe('id      s-1\nstatus  -\n')
})

describe('colours', () => {
  test('show on a terminal only, and never with NO_COLOR or a dumb terminal', () => {
    expect(styleFor(true, {}).red('x')).not.toBe('x')
    expect(styleFor(false, {})).toBe(plainStyle)
    expect(styleFor(true, { NO_COLOR: '1' })).toBe(plainStyle)
    expect(styleFor(true, { NO_COLOR: '' })).not.toBe(plainStyle)
    expect(styleFor(true, { TERM: 'dumb' })).toBe(plainStyle)
  })
})

describe('widths', () => {
  test.each([
    ['abc', 3],
    ['é', 1],
    ['e\u0301', 1],
    ['東京', 4],
    ['😀', 2],
    ['', 0],
  ])('%j takes %i cells', (text, cells) => {
    expect(widthOf(text)).toBe(cells)
  })

  test('a cut never shows half a character', () => {
    expect(fit('東京都', 4)).toBe('東…')
    expect(fit('東京', 4)).toBe('東京')
    expect(fit('abc', 0)).toBe('')
  })

  test('printable text stays as it is', () => {
    expect(printable('Zürich 東京')).toBe('Zürich 東京')
    expect(printable('\t\u0000\u009b')).toBe('\\t\\x00\\x9b')
  })
})

describe('YAML', () => {
  test('writes blocks', () => {
    const value = {
      name: 'shard-01',
      nodes: [
        { id: 'n1', port: 5432 },
        { id: 'n2', tags: ['a', 'b'] },
      ],
      none: [],
      empty: {},
      nothing: null,
    }
    expect(toYaml(value)).toBe(`name: shard-01
nodes:
  - id: n1
    port: 5432
  - id: n2
    tags:
      - a
      - b
none: []
empty: {}
nothing: null
`)
  })

  test.each([
    'true',
    'No',
    'null',
    '1.5',
    '0x1f',
    '2026-01-01',
    '- a',
    'a: b',
    '# c',
    '',
    ' a',
    'a\nb',
    '*x',
    '@a',
    '~',
  ])('quotes %j, which would read as something else', (text) => {
    expect(toYaml({ x: text })).toBe(`x: ${JSON.stringify(text)}\n`)
  })

  test('writes lists of lists and single values', () => {
    expect(toYaml([[1, 2], ['x']])).toBe('- - 1\n  - 2\n- - x\n')
    expect(toYaml('plain words')).toBe('plain words\n')
    expect(toYaml([])).toBe('[]\n')
  })
})
