// Every way in which one TypeScript file names another module: static, type-only and side-effect imports,
// re-exports, import(), import types, require, and `new URL(…, import.meta.url)` as workers and assets use it.
import { parseSync, Visitor, type Expression, type VisitorObject } from 'oxc-parser'

/** One mention of a module. `specifier` is null where it is computed, so that nobody can tell what it names. */
export interface ModuleUse {
  readonly specifier: string | null
  readonly line: number
  readonly kind: 'import' | 'type import' | 're-export' | 'dynamic import' | 'URL'
}

/**
 * The modules that the source names, in its order.
 * @throws Error when the source is not valid TypeScript
 */
export function modulesUsed(fileName: string, source: string): readonly ModuleUse[] {
  const { program, errors } = parseSync(fileName, source)
  const [error] = errors
  if (error !== undefined) throw new Error(`${fileName} cannot be parsed: ${error.message}`)
  const lineOf = lineFinder(source)
  const uses: ModuleUse[] = []
  const add = (specifier: string | null, start: number, kind: ModuleUse['kind']): void => {
    uses.push({ specifier, line: lineOf(start), kind })
  }
  new Visitor(visitorFor(add)).visit(program)
  return uses.sort((left, right) => left.line - right.line)
}

type Add = (specifier: string | null, start: number, kind: ModuleUse['kind']) => void

function visitorFor(add: Add): VisitorObject {
  return {
    ImportDeclaration(node) {
      add(node.source.value, node.start, node.importKind === 'type' ? 'type import' : 'import')
    },
    ExportNamedDeclaration(node) {
      if (node.source !== null) add(node.source.value, node.start, 're-export')
    },
    ExportAllDeclaration(node) {
      add(node.source.value, node.start, 're-export')
    },
    ImportExpression(node) {
      add(textOf(node.source), node.start, 'dynamic import')
    },
    TSImportType(node) {
      add(node.source.value, node.start, 'type import')
    },
    TSExternalModuleReference(node) {
      add(node.expression.value, node.start, 'import')
    },
    CallExpression(node) {
      const [first] = node.arguments
      if (first === undefined || first.type === 'SpreadElement') return
      const named = node.callee.type === 'Identifier' && node.callee.name === 'require'
      if (named || isImportMeta(node.callee, 'resolve')) add(textOf(first), node.start, 'dynamic import')
    },
    NewExpression(node) {
      const [first, second] = node.arguments
      if (node.callee.type !== 'Identifier' || node.callee.name !== 'URL') return
      if (first === undefined || first.type === 'SpreadElement' || second === undefined) return
      if (second.type === 'SpreadElement' || !isImportMeta(second, 'url')) return
      // A computed URL is mostly data, not code; only what is written out can be told to be a module.
      const text = textOf(first)
      if (text !== null) add(text, node.start, 'URL')
    },
  }
}

/** The text of a literal, or of a template without expressions; else null. */
function textOf(node: Expression): string | null {
  if (node.type === 'Literal' && typeof node.value === 'string') return node.value
  if (node.type === 'TemplateLiteral' && node.expressions.length === 0)
    return node.quasis[0]?.value.cooked ?? null
  return null
}

function isImportMeta(node: Expression, property: string): boolean {
  return (
    node.type === 'MemberExpression' &&
    node.object.type === 'MetaProperty' &&
    node.property.type === 'Identifier' &&
    node.property.name === property
  )
}

function lineFinder(source: string): (offset: number) => number {
  const starts = [0]
  for (let at = source.indexOf('\n'); at !== -1; at = source.indexOf('\n', at + 1)) starts.push(at + 1)
  return (offset) => {
    const next = starts.findIndex((start) => start > offset)
    return next === -1 ? starts.length : next
  }
}
