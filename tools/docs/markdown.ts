// Markdown building blocks for the generated reference.

/** A table; cells are escaped. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(header), line(header.map(() => '---')), ...rows.map((row) => line(row.map(cell)))].join('\n')
}

/** The text as code. */
export function code(text: string): string {
  return `\`${text}\``
}

/** Blocks with an empty line between them, and one newline at the end. */
export function page(...blocks: readonly string[]): string {
  return `${blocks.filter((block) => block !== '').join('\n\n')}\n`
}

/** Says that the page is made, and by what. */
export function generatedFrom(source: string): string {
  return `<!-- Generated from ${source} by npm run docs. Do not edit. -->`
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ')
}
