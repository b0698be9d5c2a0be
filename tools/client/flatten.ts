// One declaration file of many: the exports of an entry with all that they mention, out of the files that the compiler
// wrote for several packages, so that whoever installs the client needs none of these.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import {
  parseSync,
  Visitor,
  type ExportNamedDeclaration,
  type ImportDeclaration,
  type Program,
  type Statement,
} from 'oxc-parser'

/** Where the declarations of a package of this workspace lie: its name with the entry → a file. */
export type PackageEntries = ReadonlyMap<string, string>

/** One declaration of the flat file. */
export interface FlatDeclaration {
  readonly name: string
  readonly exported: boolean
  /** The doc comment without its marks; empty where there is none. */
  readonly doc: string
  /** As the compiler wrote it, without `export` and without the doc comment in front. */
  readonly text: string
}

/** What a flat file is made of. */
export interface Flat {
  /** In the order of the entry's exports; what they mention comes after all of them. */
  readonly declarations: readonly FlatDeclaration[]
  /** Names from packages that are no part of this workspace, by package. */
  readonly imports: ReadonlyMap<string, ReadonlySet<string>>
}

/**
 * Gathers what the entry exports. Names that are in `elsewhere` are imported from there instead.
 * @throws Error for what it does not know how to flatten: two declarations of one name, renamings, namespaces
 */
export function flatten(
  entry: string,
  packages: PackageEntries,
  elsewhere: ReadonlyMap<string, string> = new Map(),
): Flat {
  const files = new Files(packages)
  const exported = [...files.read(entry).exports.keys()]
  const found = new Map<string, FlatDeclaration & { readonly file: string }>()
  const imports = new Map<string, Set<string>>()
  const fromOutside = (from: string, name: string): void => {
    imports.set(from, (imports.get(from) ?? new Set()).add(name))
  }
  const waiting = exported.map((name) => files.resolve(entry, name))
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const { file, name } = next
    const other = elsewhere.get(name)
    if (file === null || other !== undefined) {
      fromOutside(file === null ? next.from : (other ?? ''), name)
      continue
    }
    const known = found.get(name)
    if (known !== undefined) {
      if (known.file !== file) throw new Error(`${name} is declared in ${known.file} and in ${file}`)
      continue
    }
    const { declaration, mentions } = files.read(file).declared(name)
    found.set(name, { name, file, exported: exported.includes(name), ...declaration })
    waiting.push(...mentions.map((mention) => files.resolve(file, mention)))
  }
  return { declarations: [...found.values()], imports }
}

/** The flat file as TypeScript reads it. */
export function declarationFile({ declarations, imports }: Flat): string {
  const heads = [...imports].map(([from, names]) => `import type { ${[...names].join(', ')} } from '${from}'`)
  const bodies = declarations.map(({ doc, text }) => (doc === '' ? text : `${commentOf(doc)}\n${text}`))
  const names = declarations.filter(({ exported }) => exported).map(({ name }) => name)
  return `${[...heads, ...bodies, `export { ${names.join(', ')} }`].join('\n')}\n`
}

/** The text without its comments, as the snapshot of the API has it. */
export function withoutComments(text: string): string {
  const { comments } = parseSync('text.d.ts', text)
  return comments
    .toReversed()
    .reduce((rest, { start, end }) => rest.slice(0, start) + rest.slice(end), text)
    .replace(/^\s*\n/gm, '')
}

function commentOf(doc: string): string {
  const lines = doc.split('\n').map((line) => ` * ${line}`.trimEnd())
  return ['/**', ...lines, ' */'].join('\n')
}

/** A name and where it is declared; `file` is null for one of a package from the registry. */
type Place =
  | { readonly file: string; readonly name: string }
  | { readonly file: null; readonly from: string; readonly name: string }

/** A name in another file. */
interface Elsewhere {
  readonly from: string
  readonly name: string
}

interface Declared {
  readonly declaration: Pick<FlatDeclaration, 'doc' | 'text'>
  /** Names of the file that it mentions. */
  readonly mentions: readonly string[]
}

interface DeclarationsOfFile {
  /** Exported names; null for those that are declared here. */
  readonly exports: ReadonlyMap<string, Elsewhere | null>
  readonly imports: ReadonlyMap<string, Elsewhere>
  /** Files of which everything is exported. */
  readonly stars: readonly string[]
  readonly declared: (name: string) => Declared
}

/** Declaration files, each read once. */
class Files {
  readonly #packages: PackageEntries
  readonly #read = new Map<string, DeclarationsOfFile>()

  constructor(packages: PackageEntries) {
    this.#packages = packages
  }

  read(file: string): DeclarationsOfFile {
    const known = this.#read.get(file)
    if (known !== undefined) return known
    const made = declarationsOf(file, readFileSync(file, 'utf8'))
    this.#read.set(file, made)
    return made
  }

  /** Follows a name through imports and re-exports to its declaration. */
  resolve(file: string, name: string): Place {
    const { imports, exports, stars } = this.read(file)
    const star = stars.find((from) => this.#exports(file, from, name))
    const elsewhere =
      imports.get(name) ?? exports.get(name) ?? (star === undefined ? null : { from: star, name })
    if (elsewhere === null) return { file, name }
    const target = this.#target(file, elsewhere.from)
    if (target === null) return { file: null, from: elsewhere.from, name }
    if (elsewhere.name !== name) throw new Error(`${file} renames ${elsewhere.name} to ${name}`)
    return this.resolve(target, name)
  }

  #exports(file: string, from: string, name: string): boolean {
    const target = this.#target(file, from)
    if (target === null) return false
    const { exports, stars } = this.read(target)
    return exports.has(name) || stars.some((star) => this.#exports(target, star, name))
  }

  #target(file: string, from: string): string | null {
    if (from.startsWith('.')) return join(dirname(file), from.replace(/\.ts$/, '.d.ts'))
    return this.#packages.get(from) ?? null
  }
}

/** Reads one file: what it exports and imports by name, and where each declaration stands. */
function declarationsOf(file: string, source: string): DeclarationsOfFile {
  const { program, comments, errors } = parseSync(file, source)
  const [error] = errors
  if (error !== undefined) throw new Error(`${file} cannot be parsed: ${error.message}`)
  const exports = new Map<string, Elsewhere | null>()
  const imports = new Map<string, Elsewhere>()
  const stars: string[] = []
  const statements = new Map<string, Found>()
  for (const statement of program.body) {
    if (statement.type === 'ImportDeclaration') readImport(statement, imports, file)
    else if (statement.type === 'ExportAllDeclaration') stars.push(statement.source.value)
    else if (statement.type === 'ExportNamedDeclaration' && statement.declaration === null)
      readExports(statement, exports)
    else {
      const inner = statement.type === 'ExportNamedDeclaration' ? statement.declaration : statement
      const name = inner === null ? null : declaredName(inner)
      if (inner === null || name === null)
        throw new Error(`${file} has a ${statement.type} that cannot be flattened`)
      if (statement !== inner) exports.set(name, null)
      statements.set(name, { start: statement.start, inner: inner as Statement })
    }
  }
  const known = new Set([...statements.keys(), ...imports.keys()])
  const declared = (name: string): Declared => {
    const found = statements.get(name)
    if (found === undefined) throw new Error(`${file} does not declare ${name}`)
    const { start, inner } = found
    const before = comments.findLast(({ end }) => end <= start && source.slice(end, start).trim() === '')
    const text = source.slice(inner.start, inner.end)
    return {
      declaration: {
        doc: before === undefined ? '' : docOf(before.value),
        text: /^(declare|interface|type)\b/.test(text) ? text : `declare ${text}`,
      },
      mentions: mentionsIn(inner, name).filter((each) => known.has(each)),
    }
  }
  return { exports, imports, stars, declared }
}

/** A declaration in its file; `start` is that of its `export`. */
interface Found {
  readonly start: number
  readonly inner: Statement
}

function readExports(node: ExportNamedDeclaration, exports: Map<string, Elsewhere | null>): void {
  for (const { local, exported } of node.specifiers) {
    const from = node.source?.value
    exports.set(nameIn(exported), from === undefined ? null : { from, name: nameIn(local) })
  }
}

function readImport(node: ImportDeclaration, imports: Map<string, Elsewhere>, file: string): void {
  for (const specifier of node.specifiers) {
    if (specifier.type !== 'ImportSpecifier') throw new Error(`${file} imports a namespace or a default`)
    imports.set(specifier.local.name, { from: node.source.value, name: nameIn(specifier.imported) })
  }
}

const nameIn = (node: { readonly type: string } & ({ name: string } | { value: string })): string =>
  'name' in node ? node.name : node.value

function declaredName(node: { readonly type: string }): string | null {
  if ('id' in node && typeof node.id === 'object' && node.id !== null && 'name' in node.id)
    return String(node.id.name)
  if (!('declarations' in node) || !Array.isArray(node.declarations) || node.declarations.length !== 1)
    return null
  return declaredName(node.declarations[0] as { readonly type: string })
}

/** Every identifier inside; properties may be among them, which are then no names of the file, or harmless ones. */
function mentionsIn(node: Statement, own: string): readonly string[] {
  const names = new Set<string>()
  const program: Program = {
    type: 'Program',
    body: [node],
    sourceType: 'module',
    hashbang: null,
    start: 0,
    end: node.end,
  }
  new Visitor({
    Identifier({ name }) {
      names.add(name)
    },
    TSImportType() {
      throw new Error(`${own} has an import type, which cannot be flattened`)
    },
  }).visit(program)
  names.delete(own)
  return [...names]
}

/** The text of a doc comment, without stars. */
export function docOf(comment: string): string {
  return comment
    .replace(/^\*/, '')
    .split('\n')
    .map((line) => line.replace(/^\s*\* ?/, '').trim())
    .join('\n')
    .trim()
}
