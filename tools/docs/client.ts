// docs/reference/client.md from the declarations of the package that is published.
import { parseSync } from 'oxc-parser'
import { docOf, withoutComments, type Flat, type FlatDeclaration } from '../client/flatten.ts'
import { flatClient } from '../client/package.ts'
import { code, generatedFrom, page, table } from './markdown.ts'

const intro = `# TypeScript client

Everything that \`@fleetshard/client\` and \`@fleetshard/client/kysely\` export, with the types as they are published.
[The guide](../guides/client.md) shows how it is used; the codes of its errors are in [errors](errors.md).`

/** The page. @throws Error when the client does not compile */
export function clientPage(root: string): string {
  const { client, kysely } = flatClient(root)
  return page(
    generatedFrom('packages/client/src'),
    intro,
    ...sectionsOf('@fleetshard/client', client),
    ...sectionsOf('@fleetshard/client/kysely', kysely),
  )
}

function sectionsOf(entry: string, { declarations }: Flat): readonly string[] {
  const exported = declarations.filter((each) => each.exported)
  return [
    `## ${entry}`,
    exported.map(({ name }) => `[${code(name)}](#${name.toLowerCase()})`).join(' · '),
  ].concat(exported.map(section))
}

function section({ name, doc, text }: FlatDeclaration): string {
  const members = membersOf(text).filter((member) => member.doc !== '')
  return page(
    `### ${name}`,
    prose(doc),
    `\`\`\`ts\n${withoutComments(text)}\n\`\`\``,
    members.length === 0
      ? ''
      : table(
          ['', ''],
          members.map((member) => [code(member.name), prose(member.doc)]),
        ),
  ).trimEnd()
}

interface Member {
  readonly name: string
  readonly doc: string
}

/** Members of an interface or a class, with their doc comments. */
function membersOf(text: string): readonly Member[] {
  const { program, comments } = parseSync('declaration.d.ts', text)
  const [declaration] = program.body
  if (declaration?.type !== 'TSInterfaceDeclaration' && declaration?.type !== 'ClassDeclaration') return []
  return declaration.body.body.flatMap((member) => {
    if (!('key' in member)) return []
    const comment = comments.findLast(
      ({ end }) => end <= member.start && text.slice(end, member.start).trim() === '',
    )
    return [
      {
        name: text.slice(member.key.start, member.key.end),
        doc: comment === undefined ? '' : docOf(comment.value),
      },
    ]
  })
}

/** Tags as words, so that the page reads as the comment does. */
function prose(doc: string): string {
  return doc
    .replaceAll(/\s*@throws\s+/g, '\n\nThrows ')
    .replaceAll(/\s*@param\s+(\S+)\s+/g, '\n\n`$1`: ')
    .trim()
}
