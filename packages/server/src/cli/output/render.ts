// One result in the form that `-o` asks for: a table for people, JSON or YAML for programs, names for pipes.
import { formatDetails, formatTable, type Column, type TableLayout } from './table.ts'
import { printable } from './width.ts'
import { toYaml } from './yaml.ts'

/** Values of `-o`. */
export const OUTPUT_FORMATS = ['table', 'wide', 'json', 'yaml', 'name'] as const
/** One of {@link OUTPUT_FORMATS}. */
export type OutputFormat = (typeof OUTPUT_FORMATS)[number]

/** How one kind of thing is shown. */
export interface View<T> {
  readonly columns: readonly Column<T>[]
  /** What `-o name` prints: usable as argument of the other commands. */
  readonly name: (item: T) => string
  /** For `get`; the columns under each other when left out. */
  readonly details?: (item: T) => readonly (readonly [string, string])[]
}

/** A list. JSON and YAML hold the items as the API has them. */
export function renderList<T>(
  items: readonly T[],
  view: View<T>,
  format: OutputFormat,
  layout: Omit<TableLayout, 'wide'>,
): string {
  switch (format) {
    case 'json':
      return toJson(items)
    case 'yaml':
      return toYaml(items)
    case 'name':
      return items.map((item) => `${printable(view.name(item))}\n`).join('')
    case 'wide':
      return formatTable(view.columns, items, { ...layout, wide: true })
    case 'table':
      return formatTable(view.columns, items, layout)
  }
}

/** One thing. */
export function renderOne<T>(
  item: T,
  view: View<T>,
  format: OutputFormat,
  layout: Omit<TableLayout, 'wide'>,
): string {
  if (format === 'json') return toJson(item)
  if (format === 'yaml') return toYaml(item)
  if (format === 'name') return `${printable(view.name(item))}\n`
  const pairs = view.details?.(item) ?? view.columns.map((column) => pairOf(column, item))
  return formatDetails(
    pairs.map(([name, value]) => [name, printable(value)]),
    layout.style,
  )
}

/** Indented JSON that ends in a newline. */
export function toJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

function pairOf<T>({ header, cell }: Column<T>, item: T): readonly [string, string] {
  return [header.toLowerCase(), String(cell(item) ?? '')]
}
