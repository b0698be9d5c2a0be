// Starts `up` as a process of its own that outlives this one, and waits until its cluster is ready. The two talk over
// a channel while it starts; after that nothing ties them together.
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { ERRORS, FleetError, type ErrorCode } from '@fleetshard/core'
import { runSteps, type CommandContext } from '../../cli/mod.ts'
import { dataDirOf, flagOf, keysFor, type Config } from '../../runtime/mod.ts'
import { logFileOf, prepareDataDir } from './data-dir.ts'
import { parseStartMessage, START_STEPS, type StartMessage } from './progress.ts'

/** For the start of a cluster of many servers on a slow disk. */
const startMsMax = 300_000

/** @throws FleetError of the process in the background, or `canceled` */
export async function startDetached(context: CommandContext): Promise<void> {
  const { config, cwd, env, stop, terminal } = context
  const dataDir = dataDirOf(config, cwd)
  prepareDataDir(dataDir)
  const logFile = openSync(logFileOf(dataDir), 'a', 0o600)
  const child = spawn(process.execPath, [...process.execArgv, launcher(), 'up', ...flagsOf(config)], {
    detached: true,
    cwd,
    env: { ...env },
    stdio: ['ignore', logFile, logFile, 'ipc'],
  })
  closeSync(logFile)
  const start = new StartWatch(child, logFileOf(dataDir))
  const deadline = AbortSignal.timeout(startMsMax)
  const signal = AbortSignal.any([stop, deadline])
  try {
    const steps = START_STEPS.map((title, step) => ({
      title,
      run: (say: (text: string) => void) => start.step(step, say, signal),
    }))
    await runSteps(terminal, steps)
    await start.ready(signal)
  } catch (error) {
    child.kill('SIGTERM')
    await start.exited
    throw stop.aborted ? new FleetError('canceled', 'the start was given up') : error
  }
  if (child.connected) child.disconnect()
  child.unref()
}

/** The script that was started, with which we start it again. */
function launcher(): string {
  const [, script] = process.argv
  if (script === undefined) throw new FleetError('internal', 'it is not known which program runs')
  return script
}

/** The flags that were given, as the command line of `up`; variables and the file are inherited. */
export function flagsOf(config: Config): readonly string[] {
  return keysFor('up')
    .filter((key) => config.source(key).kind === 'flag')
    .map((key) => `${flagOf(key)}=${String(config.get(key))}`)
}

/** Follows the messages of the process that starts. */
class StartWatch {
  /** Resolves when the process has ended. */
  readonly exited: Promise<void>
  readonly #done = START_STEPS.map(() => Promise.withResolvers<undefined>())
  readonly #ready = Promise.withResolvers<undefined>()
  #say: { readonly step: number; readonly tell: (text: string) => void } | null = null

  constructor(child: ChildProcess, logFile: string) {
    const exited = Promise.withResolvers<undefined>()
    this.exited = exited.promise
    for (const { promise } of [...this.#done, this.#ready]) promise.catch(() => undefined)
    child.on('message', (received) => {
      const message = parseStartMessage(received)
      if (message !== null) this.#took(message)
    })
    child.on('error', (error) => {
      this.#fail(
        new FleetError('internal', 'the process in the background cannot be started', { cause: error }),
      )
      exited.resolve(undefined)
    })
    child.on('exit', (code, signal) => {
      const how = signal === null ? `with code ${String(code)}` : `by ${signal}`
      const hint = `see the end of ${logFile}`
      this.#fail(new FleetError('internal', `the process in the background ended ${how}`, { hint }))
      exited.resolve(undefined)
    })
  }

  /** Resolves when the step is done. */
  async step(step: number, tell: (text: string) => void, signal: AbortSignal): Promise<void> {
    this.#say = { step, tell }
    await orAborted(this.#done[step]?.promise, signal)
  }

  async ready(signal: AbortSignal): Promise<void> {
    await orAborted(this.#ready.promise, signal)
  }

  #took(message: StartMessage): void {
    switch (message.kind) {
      case 'say':
        if (this.#say?.step === message.step) this.#say.tell(message.text)
        break
      case 'done':
        this.#done[message.step]?.resolve(undefined)
        break
      case 'ready':
        this.#ready.resolve(undefined)
        break
      case 'failed':
        this.#fail(
          new FleetError(
            isErrorCode(message.code) ? message.code : 'internal',
            message.message,
            message.hint === null ? {} : { hint: message.hint },
          ),
        )
        break
      default:
        message satisfies never
    }
  }

  #fail(error: FleetError): void {
    for (const { reject } of [...this.#done, this.#ready]) reject(error)
  }
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERRORS, code)
}

async function orAborted(promise: Promise<unknown> | undefined, signal: AbortSignal): Promise<void> {
  const { promise: aborted, reject } = Promise.withResolvers<undefined>()
  const onAbort = (): void => {
    reject(new FleetError('deadline_exceeded', 'the cluster was not ready in time'))
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    if (signal.aborted) onAbort()
    await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
