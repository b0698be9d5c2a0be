// JSON values as YAML 1.2 in block style, for `-o yaml`. Writing only; what is not plainly a word is quoted as in JSON.

/** A text that YAML reads as that text, without quotes: not a number, not a keyword, no sign of its own meaning. */
const PLAIN = /^[A-Za-z_/][A-Za-z0-9_./@+-]*(?: [A-Za-z0-9_./@+-]+)*$/
const KEYWORD = /^(?:true|false|null|yes|no|on|off|y|n)$/i

/** The value as a YAML document that ends in a newline. */
export function toYaml(value: unknown): string {
  const plain: unknown = JSON.parse(JSON.stringify(value ?? null))
  return `${block(plain, '').replace(/^\n/, '')}\n`
}

/** A block for what has parts, beginning with a newline; else the value for the same line. */
function block(value: unknown, indent: string): string {
  if (Array.isArray(value)) {
    if (value.length === 0) return '[]'
    return value
      .map((item: unknown) => `\n${indent}-${after(block(item, `${indent}  `), `${indent}  `)}`)
      .join('')
  }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value)
    if (entries.length === 0) return '{}'
    return entries
      .map(([key, item]) => `\n${indent}${scalar(key)}:${spaced(block(item, `${indent}  `))}`)
      .join('')
  }
  return scalar(value)
}

/** After a dash the first line of a block goes on the same line. */
function after(text: string, indent: string): string {
  return text.startsWith(`\n${indent}`) ? ` ${text.slice(1 + indent.length)}` : spaced(text)
}

function spaced(text: string): string {
  return text.startsWith('\n') ? text : ` ${text}`
}

function scalar(value: unknown): string {
  if (typeof value !== 'string') return JSON.stringify(value)
  return PLAIN.test(value) && !KEYWORD.test(value) ? value : JSON.stringify(value)
}
