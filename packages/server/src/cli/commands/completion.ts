// `completion`: the script for a shell. It is made from all commands, itself included, so they are handed in.
import { completionScript, SHELLS } from '../completion.ts'
import { EXIT } from '../exit-codes.ts'
import { usage } from '../options.ts'
import type { CommandSpec } from '../spec.ts'

/** @param commands all of them, asked for when the command runs */
export function completionCommand(commands: () => readonly CommandSpec[]): CommandSpec {
  return {
    path: 'completion',
    permission: null,
    summary: 'print the completion script for a shell',
    user: 'cli',
    args: [{ name: 'shell', doc: SHELLS.join(', ') }],
    examples: ['completion bash >> ~/.bashrc', 'completion fish | source'],
    run({ options, terminal }) {
      const shell = SHELLS.find((each) => each === options.arg(0))
      if (shell === undefined)
        throw usage(`there is no completion for ${options.arg(0)}`, `there is one for ${SHELLS.join(', ')}`)
      terminal.out(completionScript(shell, commands()))
      return Promise.resolve(EXIT.ok)
    },
  }
}
