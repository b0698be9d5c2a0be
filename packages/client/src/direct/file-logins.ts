// How to log in to the servers of a topology file: by what its caller gives, else by what the file says of each.
import { readFile } from 'node:fs/promises'
import { FleetError, type NodeRecord } from '@fleetshard/core'
import type { Credentials, NodeLogin } from '../options.ts'
import { loginByCredentials, type Membership } from './membership.ts'

/** Largest file that holds a password, in bytes, as routers have it. */
const secretBytesMax = 64 * 1024

/** What they are made of. */
export interface FileLoginsParts {
  /** Logins of the caller's own, which outrank those of the file. */
  readonly credentials: Credentials | undefined
  /** A password that the file itself holds. */
  readonly password: (secretRef: string) => string | undefined
}

/** Logins without any router. Passwords elsewhere are read for every connection, so that changed ones are noticed. */
export class FileLogins implements Membership {
  readonly #parts: FileLoginsParts
  readonly cluster = null

  constructor(parts: FileLoginsParts) {
    this.#parts = parts
  }

  start(): Promise<void> {
    return Promise.resolve()
  }

  acknowledge(): void {}

  refused(): void {}

  async login(node: NodeRecord, shardId: string): Promise<NodeLogin> {
    const { credentials } = this.#parts
    if (credentials !== undefined) return loginByCredentials(credentials, node, shardId)
    const { user, secretRef } = node
    return { user, password: secretRef === null ? '' : await this.#read(secretRef) }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve()
  }

  async #read(secretRef: string): Promise<string> {
    const name = secretRef.slice(secretRef.indexOf(':') + 1)
    if (secretRef.startsWith('file:')) return present(await textOf(name), `the secret file ${name} is empty`)
    if (!secretRef.startsWith('env:')) {
      return present(
        this.#parts.password(secretRef),
        'the topology file does not hold that password any more',
      )
    }
    // oxlint-disable-next-line node/no-process-env -- the topology names variables of the process that uses it
    return present(process.env[name], `the environment variable ${name} is not set`)
  }
}

function present(value: string | undefined, missing: string): string {
  if (value !== undefined && value !== '') return value
  throw new FleetError('secret_unavailable', missing, { hint: 'provide it, or correct the topology file' })
}

/** One newline at the end is no part of the password. */
async function textOf(path: string): Promise<string> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unreadable'
    throw new FleetError('secret_unavailable', `the secret file ${path} cannot be read (${reason})`, {
      hint: 'the user that runs this process must be able to read the file',
      cause,
    })
  })
  if (bytes.length > secretBytesMax) {
    throw new FleetError('secret_unavailable', `${path} is too large to be a secret`, {
      hint: `a secret file has at most ${String(secretBytesMax)} bytes`,
    })
  }
  return bytes.toString('utf8').replace(/\r?\n$/, '')
}
