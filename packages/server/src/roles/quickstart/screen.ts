// The last screen of the quickstart: 24 lines of 100 columns at most, whatever the cluster looks like.
import { fit, widthOf, type Style } from '../../cli/mod.ts'
import type { ClusterState } from '../../runtime/mod.ts'
import { headLine, processLines } from '../up/banner.ts'

/** Lines that fit a small terminal. */
export const screenLinesMax = 24
/** Cells of a line. */
export const screenCellsMax = 100

/** A shard as the screen shows it. */
export interface ShownShard {
  readonly name: string
  readonly primary: string
  readonly replicas: readonly string[]
  /** Null where nobody counted. */
  readonly users: number | null
}

/** A command and what it really answered. */
export interface Example {
  readonly command: readonly string[]
  readonly answer: readonly string[]
}

/** What the screen tells. */
export interface Screen {
  readonly state: ClusterState
  readonly tookMs: number
  readonly shards: readonly ShownShard[]
  readonly examples: readonly Example[]
  /** What comes behind `npx fleetshard …`: empty, or the data directory. Commands are never cut, to be copied whole. */
  readonly words: string
}

/** The text, each line ending in a newline. */
export function renderScreen({ state, tookMs, shards, examples, words }: Screen, style: Style): string {
  const tail = [
    '',
    `Next   npx fleetshard status${words}`,
    `Docs   ${state.urls.manager}/docs · ${state.auth === 'required' ? 'whoever asks must send a token' : 'open to every account of this machine'}`,
    `Stop   npx fleetshard down${words}`,
  ]
  const told = examples.flatMap(({ command, answer }) => [
    '',
    ...command,
    ...answer.map((line) => style.dim(fit(line, screenCellsMax))),
  ])
  const head = [headLine(state, tookMs, style), ...processLines(state)]
  const room = screenLinesMax - head.length - told.length - tail.length
  const lines = [...head, ...shardLines(shards, room), ...told, ...tail]
  return lines.map((line) => `${line}\n`).join('')
}

/** One line a shard, the rest as a number where they don't fit. */
function shardLines(shards: readonly ShownShard[], room: number): readonly string[] {
  const shown = shards.length <= room ? shards : shards.slice(0, Math.max(0, room - 1))
  const lines = shown.map(({ name, primary, replicas, users }) => {
    const counted = users === null ? '' : `${String(users)} users`
    const copies = replicas.length === 0 ? '' : `  replica ${replicas.join(' ')}`
    return fit(`  ${name.padEnd(10)} ${counted.padEnd(12)} primary ${primary}${copies}`, screenCellsMax)
  })
  const more = shards.length - shown.length
  return more > 0 ? [...lines, `  … and ${String(more)} more shards`] : lines
}

/** Cuts a text into lines of at most `cells`, each behind `indent`. */
export function wrapped(text: string, cells: number, indent: string): readonly string[] {
  const lines: string[] = []
  let line = ''
  for (const letter of text) {
    if (widthOf(indent + line + letter) > cells) {
      lines.push(indent + line)
      line = ''
    }
    line += letter
  }
  return line === '' ? lines : [...lines, indent + line]
}
