// Colours of terminal text: only on a terminal, never with NO_COLOR (no-color.org).
import type { Environment } from '../../runtime/mod.ts'

/** Wraps a text in a colour, or leaves it as it is. */
export type Paint = (text: string) => string

/** The few styles there are. */
export interface Style {
  readonly bold: Paint
  readonly dim: Paint
  readonly red: Paint
  readonly green: Paint
  readonly yellow: Paint
  readonly cyan: Paint
}

const plain: Paint = (text) => text

/** No colours at all. */
export const plainStyle: Style = {
  bold: plain,
  dim: plain,
  red: plain,
  green: plain,
  yellow: plain,
  cyan: plain,
}

/** SGR codes of ECMA-48: on, off. */
function sgr(on: number, off: number): Paint {
  return (text) => (text === '' ? '' : `\u001b[${String(on)}m${text}\u001b[${String(off)}m`)
}

const colours: Style = {
  bold: sgr(1, 22),
  dim: sgr(2, 22),
  red: sgr(31, 39),
  green: sgr(32, 39),
  yellow: sgr(33, 39),
  cyan: sgr(36, 39),
}

/** Colours when the stream is a terminal that knows them and nobody asked for none. */
export function styleFor(isTerminal: boolean, env: Environment): Style {
  const refused = (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb'
  return isTerminal && !refused ? colours : plainStyle
}
