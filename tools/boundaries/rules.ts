// The rules of tools/boundaries.json, and the judgement of one use of a module by one file. Paths are relative to the
// root of the repository, with forward slashes.
import { builtinModules } from 'node:module'
import { dirname, join, normalize } from 'node:path/posix'
import { Type, type Static } from 'typebox'
import { Value } from 'typebox/value'
import type { ModuleUse } from './imports.ts'

const Names = Type.Array(Type.String())

const RulesSchema = Type.Object(
  {
    /** Folder → what the package is called and which others it may import. */
    packages: Type.Record(
      Type.String(),
      Type.Object(
        {
          name: Type.String(),
          may: Names,
          browserSafe: Type.Optional(Type.Boolean()),
          /** Folders of a browser-safe package that run on Node alone, and what these may import besides. */
          nodeOnly: Type.Optional(Type.Record(Type.String(), Names)),
        },
        { additionalProperties: false },
      ),
    ),
    /**
     * Folders outside packages/ → folders that they may import from by path, and packages: one that names packages may
     * import no others. Packages never import these.
     */
    outside: Type.Record(Type.String(), Names),
    /** The folders of one package, each with a face, and what each may import. */
    rooms: Type.Object(
      {
        root: Type.String(),
        face: Type.String(),
        /** Further files that others may import, and why the face does not do. */
        moreFaces: Type.Record(Type.String(), Type.String()),
        /** Rooms whose files may be imported one by one. */
        withoutFace: Names,
        /** Rooms and packages that test files of every room may import besides. */
        testsMayAlso: Names,
        /** Room → rooms, files of rooms, or packages. `x/*` makes each folder in x a room; `*` allows all. */
        arrows: Type.Record(Type.String(), Names),
        /** Why a room may not be imported, for the message. */
        reasons: Type.Record(Type.String(), Type.String()),
      },
      { additionalProperties: false },
    ),
    /** Modules from the registry that only these folders may import. */
    confined: Type.Array(
      Type.Object(
        { module: Type.String(), to: Names, reason: Type.String() },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
)

/** What is allowed. */
export type Rules = Static<typeof RulesSchema>

/** What the checker knows of the files besides the rules. */
export interface Workspace {
  readonly rules: Rules
  /** Package name → keys of `exports` in its package.json: `.`, `./contract`. */
  readonly exports: ReadonlyMap<string, readonly string[]>
}

/** @throws Error when the rules file does not have the form above */
export function parseRules(json: unknown): Rules {
  if (Value.Check(RulesSchema, json)) return json
  const [error] = Value.Errors(RulesSchema, json)
  throw new Error(`tools/boundaries.json: ${error?.instancePath ?? ''} ${error?.message ?? 'is not valid'}`)
}

/** Why the file may not use the module so, as `a may not import b — reason`; null when it may. */
export function judge(workspace: Workspace, file: string, use: ModuleUse): string | null {
  const { specifier } = use
  if (specifier === null) {
    return inPackage(workspace.rules, file) && !isTest(file)
      ? 'a computed import cannot be checked — write the path out'
      : null
  }
  if (specifier.startsWith('.')) return judgePath(workspace, file, normalize(join(dirname(file), specifier)))
  if (use.kind === 'URL') return null
  return judgeName(workspace, file, specifier)
}

/** True for files that only tests load. */
export function isTest(file: string): boolean {
  return /\.test\.ts$|\/(?:testing|conformance)\/|\/(?:testing|conformance)[\w-]*\.ts$/.test(file)
}

/** The room of a file under the rooms' root: `catalog`, `workers/reshard`, `main.ts`; null for one of no room. */
export function roomOf(rules: Rules, file: string): string | null {
  const path = file.slice(rules.rooms.root.length + 1)
  const patterns = Object.keys(rules.rooms.arrows)
  for (const pattern of patterns.filter((each) => each.endsWith('/*'))) {
    const parent = pattern.slice(0, -1)
    const [folder, inside] = path.startsWith(parent) ? path.slice(parent.length).split('/') : []
    if (folder !== undefined && inside !== undefined) return parent + folder
  }
  const rooms = patterns.filter((each) => path === each || path.startsWith(`${each}/`))
  return rooms.reduce<string | null>((best, room) => (room.length > (best?.length ?? 0) ? room : best), null)
}

function judgePath(workspace: Workspace, file: string, target: string): string | null {
  const { rules } = workspace
  const [from, to] = [packageFolder(rules, file), packageFolder(rules, target)]
  if (from === null) return judgeOutside(rules, file, target)
  if (to !== from) {
    if (to === null)
      return isTest(file) ? null : `${from} may not import ${target} — it lies outside the package`
    return `${from} may not import ${target} — between packages, import by package name`
  }
  const inRooms = file.startsWith(`${rules.rooms.root}/`)
  if (!inRooms) return null
  if (!target.startsWith(`${rules.rooms.root}/`)) return null
  return judgeRooms(rules, file, target)
}

function judgeOutside(rules: Rules, file: string, target: string): string | null {
  const folder = Object.keys(rules.outside).find((each) => file.startsWith(`${each}/`))
  if (folder === undefined || packageFolder(rules, target) === null) return null
  const allowed = rules.outside[folder]?.some((each) => target.startsWith(`${each}/`)) === true
  if (!allowed) return `${folder} may not import ${target} — import the package by its name`
  const room = roomOf(rules, target)
  return room === null || isFace(rules, room, target) ? null : beyondFace(rules, folder, room, target)
}

function judgeRooms(rules: Rules, file: string, target: string): string | null {
  const [from, to] = [roomOf(rules, file), roomOf(rules, target)]
  if (from === null || to === null) {
    return `${(from === null ? file : target).slice(rules.rooms.root.length + 1)} is in no folder of tools/boundaries.json — add it with its arrows`
  }
  if (from === to) return null
  const nested = from.startsWith(`${to}/`)
  const allowed = arrowsOf(rules, from, isTest(file))
  const inner = target.slice(rules.rooms.root.length + 1)
  if (allowed.includes('*') || allowed.includes(to)) {
    return nested || isFace(rules, to, target) || isTest(file) ? null : beyondFace(rules, from, to, target)
  }
  if (allowed.includes(inner)) return null
  return `${from} may not import ${to === inner ? to : inner} — ${reasonFor(rules, to, allowed)}`
}

function isFace(rules: Rules, room: string, target: string): boolean {
  const face = `${rules.rooms.root}/${room}`
  const inner = target.slice(rules.rooms.root.length + 1)
  if (rules.rooms.withoutFace.includes(room)) return true
  return target === face || target === `${face}/${rules.rooms.face}` || inner in rules.rooms.moreFaces
}

function beyondFace(rules: Rules, from: string, room: string, target: string): string {
  const inner = target.slice(rules.rooms.root.length + 1)
  return `${from} may not import ${inner} — import ${room}/${rules.rooms.face}, the face of the folder`
}

function arrowsOf(rules: Rules, room: string, test: boolean): readonly string[] {
  const { arrows, testsMayAlso } = rules.rooms
  const own = arrows[room] ?? arrows[`${dirname(room)}/*`] ?? []
  return test ? [...own, ...testsMayAlso] : own
}

function reasonFor(rules: Rules, to: string, allowed: readonly string[]): string {
  const known = rules.rooms.reasons[to] ?? rules.rooms.reasons[`${dirname(to)}/*`]
  const list = `its arrows: ${allowed.join(', ') || 'none'}`
  return known === undefined ? list : `${known} (${list})`
}

function judgeName({ rules, exports }: Workspace, file: string, specifier: string): string | null {
  const folder = packageFolder(rules, file)
  const module = moduleName(specifier)
  const confined = rules.confined.find((rule) => rule.module === module)
  if (confined !== undefined && folder !== null && !isTest(file)) {
    const inside = confined.to.some((each) => file.startsWith(`${each}/`))
    if (!inside)
      return `${folder} may import ${module} only in ${confined.to.join(', ')} — ${confined.reason}`
  }
  if (isBuiltin(specifier)) return judgeBuiltin(rules, folder, file, specifier)
  const target = Object.values(rules.packages).find(({ name }) => name === module)
  if (target === undefined) return null
  const subpath = specifier === module ? '.' : `.${specifier.slice(module.length)}`
  if (exports.get(module)?.includes(subpath) !== true) {
    return `${specifier} is not exported — ${module} exports ${exports.get(module)?.join(', ') || 'nothing'}`
  }
  return folder === null
    ? judgeNameOutside(rules, file, module)
    : judgePackageArrow(rules, folder, file, module)
}

function judgeNameOutside(rules: Rules, file: string, module: string): string | null {
  const packages = Object.values(rules.packages).map(({ name }) => name)
  const folder = Object.keys(rules.outside).find((each) => file.startsWith(`${each}/`)) ?? ''
  const named = rules.outside[folder]?.filter((each) => packages.includes(each)) ?? []
  if (named.length === 0 || named.includes(module)) return null
  return `${folder} may not import ${module} — its arrows: ${named.join(', ')}`
}

function judgePackageArrow(rules: Rules, folder: string, file: string, module: string): string | null {
  const may = [...(rules.packages[folder]?.may ?? []), ...(nodeOnlyOf(rules, folder, file) ?? [])]
  if (!may.includes(module)) {
    return `${folder} may not import ${module} — its arrows: ${may.join(', ') || 'none'}`
  }
  if (!file.startsWith(`${rules.rooms.root}/`)) return null
  const room = roomOf(rules, file)
  if (room === null) return null
  const allowed = arrowsOf(rules, room, isTest(file))
  return allowed.includes('*') || allowed.includes(module)
    ? null
    : `${room} may not import ${module} — ${reasonFor(rules, module, allowed)}`
}

function judgeBuiltin(rules: Rules, folder: string | null, file: string, specifier: string): string | null {
  if (folder === null || rules.packages[folder]?.browserSafe !== true || isTest(file)) return null
  if (nodeOnlyOf(rules, folder, file) !== null) return null
  return `${folder} may not import ${specifier} — it runs in browsers`
}

/** What a file may import because it lies in a folder for Node alone; null when it does not. */
function nodeOnlyOf(rules: Rules, folder: string, file: string): readonly string[] | null {
  const folders = Object.entries(rules.packages[folder]?.nodeOnly ?? {})
  return folders.find(([inner]) => file.startsWith(`${folder}/${inner}/`))?.[1] ?? null
}

function isBuiltin(specifier: string): boolean {
  return specifier.startsWith('node:') || builtinModules.includes(specifier)
}

/** `@a/b/c` → `@a/b`, `x/y` → `x`. */
function moduleName(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

function packageFolder(rules: Rules, file: string): string | null {
  return Object.keys(rules.packages).find((folder) => file.startsWith(`${folder}/`)) ?? null
}

function inPackage(rules: Rules, file: string): boolean {
  return packageFolder(rules, file) !== null
}
