// Tables for people: columns as wide as they need to be, the widest cut first when the terminal is too narrow.
import { plainStyle, type Paint, type Style } from './style.ts'
import { fit, printable, widthOf } from './width.ts'

/** One column over rows of type T. */
export interface Column<T> {
  readonly header: string
  readonly cell: (row: T) => string | number | null
  readonly align?: 'left' | 'right'
  /** Shown with `-o wide` only. */
  readonly wide?: boolean
  /** Never cut: ids and other things to copy. */
  readonly whole?: boolean
  /** A colour for the cell. */
  readonly paint?: (row: T, style: Style) => Paint
}

/** How a table is printed. */
export interface TableLayout {
  readonly wide?: boolean
  readonly style?: Style
  /** Cells of the terminal; no line is cut when left out. */
  readonly cells?: number | undefined
}

const gap = '  '
/** A column is not made narrower than this. */
const columnCellsMin = 8

/** The table with a line of headers, each line ending in a newline. */
export function formatTable<T>(
  columns: readonly Column<T>[],
  rows: readonly T[],
  layout: TableLayout = {},
): string {
  const shown = columns.filter((column) => layout.wide === true || column.wide !== true)
  const style = layout.style ?? plainStyle
  const cells = rows.map((row) => shown.map((column) => cellText(column.cell(row))))
  const widths = widthsOf(shown, cells, layout.cells)
  const header = line(shown, widths, (column, index) => ({
    text: fit(column.header, widths[index] ?? 0),
    paint: style.bold,
  }))
  const body = rows.map((row, at) =>
    line(shown, widths, (column, index) => ({
      text: fit(cells[at]?.[index] ?? '', widths[index] ?? 0),
      paint: column.paint?.(row, style) ?? ((text) => text),
    })),
  )
  return [header, ...body].map((text) => `${text}\n`).join('')
}

/** Names and values under each other, for one thing: `status   active`. */
export function formatDetails(
  pairs: readonly (readonly [string, string])[],
  style: Style = plainStyle,
): string {
  const width = Math.max(0, ...pairs.map(([name]) => widthOf(name)))
  return pairs
    .map(([name, value]) => `${style.dim(name.padEnd(width))}${gap}${value === '' ? '-' : value}`.trimEnd())
    .map((text) => `${text}\n`)
    .join('')
}

function cellText(value: string | number | null): string {
  return value === null || value === '' ? '-' : printable(String(value))
}

interface Cell {
  readonly text: string
  readonly paint: Paint
}

function line<T>(
  columns: readonly Column<T>[],
  widths: readonly number[],
  cell: (column: Column<T>, index: number) => Cell,
): string {
  return columns
    .map((column, index) => {
      const { text, paint } = cell(column, index)
      const padding = ' '.repeat(Math.max(0, (widths[index] ?? 0) - widthOf(text)))
      if (column.align === 'right') return padding + paint(text)
      return index === columns.length - 1 ? paint(text) : paint(text) + padding
    })
    .join(gap)
    .trimEnd()
}

/** As wide as the widest cell; then the widest columns give way, one cell at a time, until the line fits. */
function widthsOf<T>(
  columns: readonly Column<T>[],
  cells: readonly (readonly string[])[],
  available: number | undefined,
): readonly number[] {
  const widths = columns.map(({ header }, index) =>
    cells.reduce((widest, row) => Math.max(widest, widthOf(row[index] ?? '')), widthOf(header)),
  )
  if (available === undefined) return widths
  const gaps = gap.length * Math.max(0, columns.length - 1)
  let excess = widths.reduce((sum, width) => sum + width, gaps) - available
  while (excess > 0) {
    const widest = widestOf(columns, widths)
    if (widest === undefined) break
    widths[widest] = (widths[widest] ?? 0) - 1
    excess -= 1
  }
  return widths
}

function widestOf<T>(columns: readonly Column<T>[], widths: readonly number[]): number | undefined {
  let best: number | undefined
  widths.forEach((width, index) => {
    if (width <= columnCellsMin || columns[index]?.whole === true) return
    if (best === undefined || width > (widths[best] ?? 0)) best = index
  })
  return best
}
