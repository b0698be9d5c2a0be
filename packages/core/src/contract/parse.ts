// Checks of outside values against a schema of the contract, with messages that name the field.
// Shared by every HTTP server; uses typebox at run time, so the client does not import it.
import type { Static, TSchema } from 'typebox'
import { Compile, type Validator } from 'typebox/compile'
import { FleetError } from '../errors/fleet-error.ts'

/** How many wrong fields one message names. */
const namedErrorsMax = 5

/** A compiled check: the value, typed, or FleetError `invalid_request`. */
export type Parser<S extends TSchema> = (value: unknown) => Static<S>

/**
 * The check of a schema, compiled when it is used for the first time: of all the schemas a process knows it uses a few,
 * and what is compiled stays in memory.
 */
export function compiledOnUse<S extends TSchema>(schema: S): () => Validator<Record<never, never>, S> {
  let validator: Validator<Record<never, never>, S> | null = null
  return () => (validator ??= Compile(schema))
}

/**
 * Compiles a schema once, when the parser is first called; it may then be called often.
 * @param what how messages call the whole value: `body`, `query`
 * @param convert true reads `"5"` as 5 and `"false"` as false where the schema wants that: for query strings
 */
export function compileParser<S extends TSchema>(schema: S, what: string, convert = false): Parser<S> {
  const compiled = compiledOnUse(schema)
  return (outside) => {
    const validator = compiled()
    const value: unknown = convert ? fromTexts(schema, outside) : outside
    if (validator.Check(value)) return value
    throw invalidRequest(what, validator.Errors(value))
  }
}

/** The texts of a query string as the types that the schema wants; what does not read as one stays a text. */
function fromTexts(schema: TSchema, outside: unknown): unknown {
  if (typeof outside !== 'object' || outside === null) return outside
  const { properties = {} } = schema as { readonly properties?: Readonly<Record<string, { type?: unknown }>> }
  return Object.fromEntries(
    Object.entries(outside).map(([name, text]) => [name, fromText(properties[name]?.type, text)]),
  )
}

function fromText(type: unknown, text: unknown): unknown {
  if (typeof text !== 'string') return text
  if (type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true'
  const isNumber = type === 'integer' || type === 'number'
  return isNumber && /^-?\d{1,16}(\.\d{1,16})?$/.test(text) ? Number(text) : text
}

interface SchemaError {
  readonly keyword: string
  readonly instancePath: string
  readonly message: string
  readonly params: object
}

function invalidRequest(what: string, errors: readonly SchemaError[]): FleetError {
  const messages = new Set<string>()
  const unions = errors.filter(({ keyword }) => keyword === 'anyOf').map(({ instancePath }) => instancePath)
  const isNamed = (path: string): boolean =>
    errors.some((error) => error.keyword === 'additionalProperties' && error.instancePath === path)
  for (const error of errors) {
    if (error.keyword === 'boolean') continue // said once more, with all names, by additionalProperties
    if (error.keyword === 'anyOf') {
      // A value of the right type whose fields are named needs no word on its type.
      if (!isNamed(error.instancePath)) messages.add(typesMessage(what, error.instancePath, errors))
      continue
    }
    const within = unions.some((path) => error.instancePath.startsWith(path))
    if (within && error.keyword !== 'additionalProperties') continue
    messages.add(messageOf(what, error))
  }
  const shown = [...messages].slice(0, namedErrorsMax)
  const more = messages.size > shown.length ? ` (and ${String(messages.size - shown.length)} more)` : ''
  return new FleetError('invalid_request', shown.join('; ') + more, {
    hint: 'see /openapi.json for the fields and their types',
  })
}

/** What a union wants, told by the types that its members missed. */
function typesMessage(what: string, path: string, errors: readonly SchemaError[]): string {
  const wanted = errors
    .filter((error) => error.keyword === 'type' && error.instancePath === path)
    .map(({ params }) => (params as { readonly type?: unknown }).type)
    .filter((type) => typeof type === 'string' && type !== 'undefined')
  const field = fieldOf(what, path)
  return wanted.length === 0
    ? `${field} has a wrong type`
    : `${field} must be ${[...new Set(wanted)].join(' or ')}`
}

function messageOf(what: string, { keyword, instancePath, message, params }: SchemaError): string {
  const field = fieldOf(what, instancePath)
  const detail = params as Readonly<Record<string, unknown>>
  switch (keyword) {
    case 'additionalProperties':
      return `${field} has unknown ${listOf('field', detail['additionalProperties'])}`
    case 'required':
      return `${field} lacks the required ${listOf('field', detail['requiredProperties'])}`
    case 'enum': {
      const allowed = listOf('', detail['allowedValues']).trim()
      return allowed.includes(', ') ? `${field} must be one of ${allowed}` : `${field} must be ${allowed}`
    }
    case 'pattern':
      return `${field} must match ${String(detail['pattern'])}`
    default:
      return `${field} ${message}`
  }
}

/** `/shards/0/name` reads as `shards[0].name`. */
function fieldOf(what: string, instancePath: string): string {
  if (instancePath === '') return `the ${what}`
  const parts = instancePath.slice(1).split('/')
  return parts.reduce((path, part) => {
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~').slice(0, 80)
    if (/^\d+$/.test(name)) return `${path}[${name}]`
    return path === '' ? name : `${path}.${name}`
  }, '')
}

function listOf(noun: string, names: unknown): string {
  const list = Array.isArray(names) ? names.map((name) => JSON.stringify(String(name).slice(0, 80))) : []
  return `${noun}${noun !== '' && list.length > 1 ? 's' : ''} ${list.slice(0, 10).join(', ')}`
}
