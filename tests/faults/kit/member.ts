// One process of a fault cluster that may be killed, frozen and started again, always with the same words, so that it
// comes back on the same ports. Its output goes to a file, which outlives it.
import { join } from 'node:path'
import { startFleetshard, type Running } from '../../e2e/harness/processes.ts'

/** How a member is made. */
export interface MemberOptions {
  readonly name: string
  readonly words: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly logFolder: string
}

/** A process under the scenario's hand. */
export class Member implements AsyncDisposable {
  readonly name: string
  readonly #options: MemberOptions
  #running: Running | null = null
  #isFrozen = false
  #isAsked = false
  #crashes = 0

  constructor(options: MemberOptions) {
    this.name = options.name
    this.#options = options
  }

  get isRunning(): boolean {
    return this.#running !== null && !this.#isFrozen
  }

  /** How often it has ended though nobody asked it to. */
  get crashes(): number {
    return this.#crashes
  }

  /** Starts it; nothing when it runs. */
  start(): void {
    if (this.#running !== null) return
    const { words, env, logFolder } = this.#options
    const running = startFleetshard(words, { env, logFile: join(logFolder, `${this.name}.log`) })
    this.#running = running
    this.#isAsked = false
    void running.finished.then(
      () => {
        if (this.#running !== running) return
        this.#running = null
        if (!this.#isAsked) this.#crashes += 1
      },
      () => undefined,
    )
  }

  /** kill -9; resolves when it is gone. */
  kill(): Promise<void> {
    return this.#end('SIGKILL')
  }

  /** SIGTERM; resolves when it has ended by itself. */
  stop(): Promise<void> {
    this.thaw()
    return this.#end('SIGTERM')
  }

  /** SIGSTOP: it keeps its connections and its leases run out. */
  freeze(): void {
    if (this.#running === null) return
    this.#running.kill('SIGSTOP')
    this.#isFrozen = true
  }

  /** SIGCONT: it goes on where it stopped, knowing nothing of the time between. */
  thaw(): void {
    if (!this.#isFrozen) return
    this.#running?.kill('SIGCONT')
    this.#isFrozen = false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const running = this.#running
    if (running === null) return
    this.#isAsked = true
    running.kill(signal)
    await running.finished.catch(() => undefined)
    this.#isFrozen = false
    this.#running = null
  }
}
