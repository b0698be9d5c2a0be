// Goes over all sources of a checkout and gathers what breaks the rules.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative, sep } from 'node:path'
import { modulesUsed } from './imports.ts'
import { judge, parseRules, type Rules, type Workspace } from './rules.ts'

const skipped = new Set(['node_modules', '.build', 'coverage', '.git', 'dist'])

/** One broken rule. */
export interface Violation {
  /** Relative to the root. */
  readonly file: string
  readonly line: number
  readonly message: string
}

/**
 * What breaks tools/boundaries.json in the checkout.
 * @throws Error when the rules or a source can't be read
 */
export function checkBoundaries(root: string): readonly Violation[] {
  const rules = parseRules(JSON.parse(readFileSync(join(root, 'tools/boundaries.json'), 'utf8')))
  const workspace: Workspace = { rules, exports: exportsOf(root, rules) }
  return [...Object.keys(rules.packages), ...Object.keys(rules.outside)]
    .flatMap((folder) => sourcesIn(join(root, folder)))
    .flatMap((path) => checkFile(workspace, root, path))
}

/** How many sources there are: a check of none proves nothing. */
export function countSources(root: string): number {
  return ['packages', 'tools', 'tests', 'bench', 'examples'].flatMap((folder) =>
    sourcesIn(join(root, folder)),
  ).length
}

function checkFile(workspace: Workspace, root: string, path: string): readonly Violation[] {
  const file = relative(root, path).split(sep).join('/')
  return modulesUsed(file, readFileSync(path, 'utf8')).flatMap((use) => {
    const message = judge(workspace, file, use)
    return message === null ? [] : [{ file, line: use.line, message }]
  })
}

function sourcesIn(folder: string): readonly string[] {
  if (!existsSync(folder)) return []
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return skipped.has(entry.name) ? [] : sourcesIn(path)
    return /\.(?:[cm]?[jt]s|[jt]sx)$/.test(entry.name) ? [path] : []
  })
}

function exportsOf(root: string, rules: Rules): ReadonlyMap<string, readonly string[]> {
  return new Map(
    Object.entries(rules.packages).map(([folder, { name }]) => [
      name,
      exportKeys(join(root, folder, 'package.json')),
    ]),
  )
}

function exportKeys(packageFile: string): readonly string[] {
  if (!existsSync(packageFile)) return []
  const parsed: unknown = JSON.parse(readFileSync(packageFile, 'utf8'))
  const found = typeof parsed === 'object' && parsed !== null && 'exports' in parsed ? parsed.exports : null
  return typeof found === 'object' && found !== null ? Object.keys(found) : []
}
