// Completion scripts for shells, made from the command table: words of commands and their flags.
import { settingFlags } from './program.ts'
import { NOUNS, type CommandSpec } from './spec.ts'

/** Shells there is a script for. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const
/** One of {@link SHELLS}. */
export type Shell = (typeof SHELLS)[number]

/** What may come after the words of a path, which is empty for the first word. */
interface Place {
  readonly path: string
  readonly words: readonly { readonly word: string; readonly doc: string }[]
}

/** The script; to be read by the shell at its start. */
export function completionScript(shell: Shell, commands: readonly CommandSpec[]): string {
  const places = placesOf(commands.filter(({ hidden }) => hidden !== true))
  switch (shell) {
    case 'bash':
      return bash(places)
    case 'zsh':
      return zsh(places)
    case 'fish':
      return fish(places)
  }
}

function placesOf(commands: readonly CommandSpec[]): readonly Place[] {
  const places = new Map<string, Map<string, string>>()
  const add = (path: string, word: string, doc: string): void => {
    places.set(path, (places.get(path) ?? new Map<string, string>()).set(word, doc))
  }
  for (const command of commands) {
    const [first = '', second] = command.path.split(' ')
    add('', first, second === undefined ? command.summary : (NOUNS[first] ?? first))
    if (second !== undefined) add(first, second, command.summary)
    for (const flag of command.flags ?? []) add(command.path, longFlag(flag.flags), flag.doc)
    for (const { flag, key } of settingFlags(command.user)) add(command.path, flag, `setting ${key}`)
  }
  return [...places].map(([path, words]) => ({
    path,
    words: [...words].map(([word, doc]) => ({ word, doc })),
  }))
}

function longFlag(flags: string): string {
  return /--[a-z-]+/.exec(flags)?.[0] ?? flags
}

/** The path is the first one or two words that are no flags: no command has more. */
function bash(places: readonly Place[]): string {
  return `# fleetshard completion for bash: eval "$(fleetshard completion bash)"
_fleetshard() {
  local first="" second="" word choices
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in
      -*) ;;
      *) if [ -z "$first" ]; then first=$word; elif [ -z "$second" ]; then second=$word; fi ;;
    esac
  done
  case "$first $second" in
${shellCases(places)}
    *) choices="" ;;
  esac
  COMPREPLY=($(compgen -W "$choices" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _fleetshard fleetshard
`
}

function zsh(places: readonly Place[]): string {
  return `#compdef fleetshard
# fleetshard completion for zsh: eval "$(fleetshard completion zsh)"
_fleetshard() {
  local first="" second="" word choices
  for word in "\${words[@]:1:$((CURRENT - 2))}"; do
    case "$word" in
      -*) ;;
      *) if [ -z "$first" ]; then first=$word; elif [ -z "$second" ]; then second=$word; fi ;;
    esac
  done
  case "$first $second" in
${shellCases(places)}
    *) choices="" ;;
  esac
  if [ -n "$choices" ]; then compadd -- \${=choices}; else _files; fi
}
compdef _fleetshard fleetshard
`
}

/** Groups complete their verbs while there is no second word; commands complete their flags, whatever follows. */
function shellCases(places: readonly Place[]): string {
  const groups = new Set(
    places
      .map(({ path }) => path.split(' '))
      .filter((words) => words.length > 1)
      .map(([noun]) => noun),
  )
  return places
    .map(({ path, words }) => {
      const pattern =
        path === ''
          ? '" "'
          : groups.has(path)
            ? `"${path} "`
            : path.includes(' ')
              ? `"${path}"`
              : `"${path} "*`
      return `    ${pattern}) choices="${words.map(({ word }) => word).join(' ')}" ;;`
    })
    .join('\n')
}

function fish(places: readonly Place[]): string {
  const lines = places.flatMap(({ path, words }) => words.map(({ word, doc }) => fishLine(path, word, doc)))
  return `# fleetshard completion for fish: fleetshard completion fish | source
complete -c fleetshard -f
${lines.join('\n')}
`
}

function fishLine(path: string, word: string, doc: string): string {
  const [first, second] = path === '' ? [] : path.split(' ')
  const seen = [first, second]
    .filter((each) => each !== undefined)
    .map((each) => `__fish_seen_subcommand_from ${each}`)
  const condition = seen.length === 0 ? '__fish_use_subcommand' : seen.join('; and ')
  const what = word.startsWith('--') ? `-l ${word.slice(2)}` : `-a ${word}`
  return `complete -c fleetshard -n '${condition}' ${what} -d '${doc.replaceAll("'", '’')}'`
}
