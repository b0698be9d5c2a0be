// The host's side of the parser thread: starts it when needed, gives each text a deadline, ends the thread when it is
// idle, replaces it after many texts and after a crash. A text that takes too long, or crashes the thread, fails alone:
// those behind it are given to the next thread.
import { Worker } from 'node:worker_threads'
import { FleetError, type Clock } from '@fleetshard/core'
import { useBaselineWasm, type Logger } from '../../../runtime/mod.ts'
import type { Analysis } from '@fleetshard/routing/plan'
import type { ParseAnswer, ParseRequest } from './parser-thread.ts'

/** Bounds of the parser. */
export interface ParserLimits {
  /** Texts waiting for an answer; more are refused. */
  readonly pendingMax: number
  /** Texts parsed by one thread before it is replaced, as a bound on whatever they may leave behind. */
  readonly textsPerThreadMax: number
  /** A thread that had nothing to do for so long is ended, which gives its memory back. */
  readonly idleMs: number
  readonly timeoutMs: number
}

export const parserLimitsDefault: ParserLimits = {
  pendingMax: 2_000,
  textsPerThreadMax: 100_000,
  idleMs: 60_000,
  timeoutMs: 10_000,
}

interface Pending {
  readonly text: string
  readonly resolve: (analysis: Analysis) => void
  readonly reject: (error: Error) => void
}

interface Thread {
  readonly worker: Worker
  /** In the order of asking; the first is being worked on. */
  readonly pending: Map<number, Pending>
  /** Takes back the deadline of the first. */
  stopDeadline: (() => void) | null
  /** Not given any more texts; ends when those it has are answered. */
  retired: boolean
  texts: number
  /** Takes back the end for idleness. */
  keep: () => void
}

/** Analyses statements off the main thread. */
export class StatementParser implements AsyncDisposable {
  readonly #log: Logger
  readonly #clock: Clock
  readonly #limits: ParserLimits
  readonly #threads = new Set<Thread>()
  #current: Thread | null = null
  #nextId = 1
  #pending = 0
  #closed = false

  constructor(parts: { log: Logger; clock: Clock; limits?: ParserLimits }) {
    this.#log = parts.log
    this.#clock = parts.clock
    this.#limits = parts.limits ?? parserLimitsDefault
  }

  /**
   * Analyses one text.
   * @throws FleetError `overloaded`, `deadline_exceeded`, `shutting_down`
   */
  analyse(text: string): Promise<Analysis> {
    if (this.#closed) return Promise.reject(new FleetError('shutting_down', 'the router is shutting down'))
    if (this.#pending >= this.#limits.pendingMax) {
      return Promise.reject(
        new FleetError('overloaded', 'too many new statements are waiting to be parsed', {
          hint: 'send values as params, so that the same text is parsed once',
        }),
      )
    }
    return new Promise((resolve, reject) => {
      this.#pending += 1
      this.#give({ text, resolve, reject })
    })
  }

  #give(pending: Pending): void {
    const thread = this.#thread()
    const id = this.#nextId
    this.#nextId += 1
    thread.pending.set(id, pending)
    if (thread.pending.size === 1) this.#startDeadline(thread)
    thread.worker.postMessage({ id, text: pending.text } satisfies ParseRequest)
  }

  /** The time of a text begins when those before it are done: a long line is no fault of its own. */
  #startDeadline(thread: Thread): void {
    thread.stopDeadline?.()
    thread.stopDeadline = this.#clock.after(this.#limits.timeoutMs, () => {
      this.#lose(thread, new FleetError('deadline_exceeded', 'the statement took too long to be parsed'))
      void thread.worker.terminate()
    })
  }

  #answered(thread: Thread, { id, analysis }: ParseAnswer): void {
    const pending = thread.pending.get(id)
    if (pending === undefined) return
    this.#pending -= 1
    thread.pending.delete(id)
    thread.stopDeadline?.()
    thread.stopDeadline = null
    if (thread.pending.size > 0) this.#startDeadline(thread)
    else this.#restOrEnd(thread)
    pending.resolve(analysis)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    const threads = [...this.#threads]
    const error = new FleetError('shutting_down', 'the router is shutting down')
    for (const thread of threads) {
      thread.keep()
      for (const pending of this.#takeAll(thread)) pending.reject(error)
    }
    await Promise.all(threads.map((thread) => thread.worker.terminate()))
  }

  #thread(): Thread {
    let thread = this.#current
    if (thread !== null && thread.texts >= this.#limits.textsPerThreadMax) {
      thread.retired = true
      if (thread.pending.size === 0) void thread.worker.terminate()
      thread = null
    }
    thread ??= this.#start()
    thread.keep()
    thread.texts += 1
    return thread
  }

  #restOrEnd(thread: Thread): void {
    if (thread.retired) {
      void thread.worker.terminate()
      return
    }
    thread.keep = this.#clock.after(this.#limits.idleMs, () => {
      thread.retired = true
      if (this.#current === thread) this.#current = null
      void thread.worker.terminate()
    })
  }

  #start(): Thread {
    useBaselineWasm()
    const worker = new Worker(new URL('./parser-thread.ts', import.meta.url), {
      resourceLimits: { stackSizeMb: 8 },
    })
    const thread: Thread = {
      worker,
      pending: new Map(),
      stopDeadline: null,
      retired: false,
      texts: 0,
      keep: () => undefined,
    }
    worker.unref()
    worker.on('message', (answer: ParseAnswer) => {
      this.#answered(thread, answer)
    })
    worker.on('error', (error) => {
      this.#log.error({ err: error }, 'parser thread failed')
      const tooComplex = new FleetError('invalid_request', 'the statement is too complex to be analysed', {
        facts: { too_deep: true },
      })
      this.#lose(thread, tooComplex)
    })
    worker.on('exit', () => {
      this.#threads.delete(thread)
      this.#lose(
        thread,
        new FleetError('shard_unavailable', 'the parser was restarted', { hint: 'try again' }),
      )
    })
    this.#threads.add(thread)
    this.#current = thread
    return thread
  }

  /** The thread is lost: the text that it worked on fails, the others go to the next thread. */
  #lose(thread: Thread, error: FleetError): void {
    if (this.#current === thread) this.#current = null
    const [first, ...others] = this.#takeAll(thread)
    first?.reject(error)
    for (const pending of others) {
      this.#pending += 1
      this.#give(pending)
    }
  }

  #takeAll(thread: Thread): Pending[] {
    thread.keep()
    thread.stopDeadline?.()
    thread.stopDeadline = null
    const taken = [...thread.pending.values()]
    thread.pending.clear()
    this.#pending -= taken.length
    return taken
  }
}
