// Holds every answer that a test gets to the OpenAPI document of the manager that gave it.
import { Compile } from 'typebox/compile'
import type { Reply } from './managers.ts'

interface Content {
  readonly content?: Readonly<Record<string, { readonly schema: object }>>
}
interface Document {
  readonly paths: Readonly<
    Record<string, Readonly<Record<string, { readonly responses: Readonly<Record<string, Content>> }>>>
  >
}

/** Compiled once a shape, since every test starts a manager of its own. */
const compiled = new Map<string, ReturnType<typeof Compile>>()
const documents = new Map<string, Promise<Document>>()

/** Throws when the answer does not have the form that the document promises. */
export async function holdToContract(url: string, method: string, path: string, reply: Reply): Promise<void> {
  const document =
    documents.get(url) ?? fetch(`${url}/openapi.json`).then((answer) => answer.json() as Promise<Document>)
  documents.set(url, document)
  const operation = operationOf(await document, method, path.split('?')[0] ?? path)
  if (operation === undefined) return
  const content = operation.responses[String(reply.status)] ?? operation.responses['default']
  const schema = Object.values(content?.content ?? {})[0]?.schema
  if (schema === undefined || reply.body === undefined) return
  const text = JSON.stringify(schema)
  const check = compiled.get(text) ?? Compile(schema)
  compiled.set(text, check)
  if (check.Check(reply.body)) return
  const [error] = check.Errors(reply.body)
  throw new Error(`${method} ${path} ${String(reply.status)} breaks its contract: ${JSON.stringify(error)}`)
}

function operationOf(document: Document, method: string, path: string) {
  const exact = document.paths[path]?.[method.toLowerCase()]
  if (exact !== undefined) return exact
  for (const [template, operations] of Object.entries(document.paths)) {
    const pattern = new RegExp(`^${template.replaceAll(/\{\w+\}/g, '[^/]+')}$`)
    if (pattern.test(path)) return operations[method.toLowerCase()]
  }
  return undefined
}
