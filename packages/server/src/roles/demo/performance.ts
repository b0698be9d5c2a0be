// One performance of the demo: plays acts, times them, prints what they found, and keeps it for the JSON result.
import { toFleetError } from '@fleetshard/core'
import { runSteps, type CommandContext } from '../../cli/mod.ts'
import type { ActOutcome, Figure } from './act.ts'
import { secondsOf, timed } from './wording.ts'

/** What is told of an act besides its figures. */
interface Title {
  readonly name: string
  readonly title: string
}

/** The acts played so far. With `--json` people's lines go to standard error. */
export class Performance {
  readonly failures: string[] = []
  readonly #context: CommandContext
  readonly #begunMs: number
  readonly #figures: Record<string, Figure> = {}
  readonly #seconds: Record<string, number> = {}

  constructor(context: CommandContext) {
    this.#context = context
    this.#begunMs = context.clock.monotonic()
  }

  /** Plays one act. @throws what the act throws */
  async play(
    { name, title }: Title,
    run: (say: (text: string) => void) => Promise<ActOutcome>,
  ): Promise<void> {
    const { clock, errStyle, style } = this.#context
    const begunMs = clock.monotonic()
    let outcome: ActOutcome = { figures: {}, lines: [], failures: [] }
    await runSteps(this.#context.terminal, [
      {
        title,
        run: async (say) => {
          outcome = await run(say)
          if (this.#isDrawn) say(timed(clock.monotonic() - begunMs))
        },
      },
    ])
    const tookMs = clock.monotonic() - begunMs
    this.#seconds[name] = secondsOf(tookMs)
    Object.assign(this.#figures, outcome.figures)
    this.failures.push(...outcome.failures)
    const paint = this.isJson ? errStyle : style
    if (!this.#isDrawn) this.tell(`${paint.bold(title)} ${paint.dim(`(${timed(tookMs)})`)}`)
    for (const line of outcome.lines) this.tell(`  ${line}`)
    for (const failure of outcome.failures) this.tell(`  ${paint.red('failed:')} ${failure}`)
  }

  /** An act that could not be played to its end. */
  fail({ name }: Title, error: unknown): void {
    const { message, hint } = toFleetError(error)
    this.failures.push(`${name}: ${message}`)
    this.#context.terminal.err(`${this.#context.errStyle.red('error:')} ${message}\n`)
    if (hint !== undefined) this.#context.terminal.err(`hint: ${hint}\n`)
  }

  /** True where the drawn progress of an act is its headline already. */
  get #isDrawn(): boolean {
    const { drawing, outIsTerminal } = this.#context.terminal
    return drawing !== null && (this.isJson || outIsTerminal)
  }

  /** A line for people. */
  tell(text: string): void {
    const { terminal } = this.#context
    const print = this.isJson ? terminal.err : terminal.out
    print(`${text}\n`)
  }

  get isJson(): boolean {
    return this.#context.options.isSet('json')
  }

  /** Everything as one object. */
  result(facts: { readonly [name: string]: Figure }): { readonly [name: string]: Figure } {
    const total = secondsOf(this.#context.clock.monotonic() - this.#begunMs)
    return {
      ...this.#figures,
      holds: this.failures.length === 0,
      failures: this.failures,
      seconds: { ...this.#seconds, total },
      ...facts,
    }
  }
}
