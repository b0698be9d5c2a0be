// The certificates of a process in files that are followed: replaced ones are taken over without a restart. A pair that
// does not fit together, as there is one while two files are written one after the other, is not used.
import { X509Certificate } from 'node:crypto'
import type { SecureContext } from 'node:tls'
import { FleetError, toFleetError, type Clock } from '@fleetshard/core'
import { makeSecureContext, type TlsTexts } from '@fleetshard/core/tls'
import { FollowedFile } from '@fleetshard/core/topology-file/disk'
import type { Logger, Service, TlsSource } from '../runtime/mod.ts'

/** Paths of the files; null for those there are none of. */
export interface TlsPaths {
  readonly ca: string | null
  readonly certificate: string | null
  readonly key: string | null
}

/** What following them takes. */
export interface TlsFilesParts {
  readonly paths: TlsPaths
  readonly clock: Clock
  readonly log: Logger
  /** How often the files are looked at. Default 1 s. */
  readonly pollEveryMs?: number
}

/** Certificates that are followed while it runs. */
export interface TlsFiles extends TlsSource, Service {
  /** When our certificate ends, milliseconds since 1970; null where there is none. */
  expiresAtMs(): number | null
}

const pollEveryMsDefault = 1_000
/** A certificate that ends sooner is complained about. */
const expiryWarningMs = 14 * 24 * 60 * 60 * 1000

/** Reads the files. @throws FleetError `invalid_config` for those that cannot be read or do not fit together */
export async function openTlsFiles(parts: TlsFilesParts): Promise<TlsFiles> {
  const files = new Files(parts)
  await files.load()
  return files
}

/** Texts that fit together. */
interface Usable {
  readonly texts: TlsTexts
  readonly context: SecureContext
}

class Files implements TlsFiles {
  readonly name = 'certificates'
  readonly #parts: TlsFilesParts
  readonly #files: readonly FollowedFile[]
  readonly #listeners = new Set<() => void>()
  /** As they lie on disk, usable or not. */
  #found: TlsTexts = { ca: null, certificate: null, key: null }
  #used: Usable | null = null

  constructor(parts: TlsFilesParts) {
    this.#parts = parts
    const { paths } = parts
    const names = ['ca', 'certificate', 'key'] as const
    this.#files = names.flatMap((name) => {
      const path = paths[name]
      return path === null ? [] : [this.#follow(path, name)]
    })
  }

  async load(): Promise<void> {
    for (const file of this.#files) await file.load()
    this.#use()
  }

  texts(): TlsTexts {
    return this.#current().texts
  }

  context(): SecureContext {
    return this.#current().context
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  expiresAtMs(): number | null {
    const { certificate } = this.texts()
    return certificate === null ? null : new X509Certificate(certificate).validToDate.getTime()
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#files.map((file) => file.run(signal)))
  }

  drain(): Promise<void> {
    return Promise.resolve()
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#listeners.clear()
    return Promise.resolve()
  }

  #current(): Usable {
    if (this.#used === null) throw new FleetError('internal', 'the certificates are not read yet')
    return this.#used
  }

  #follow(path: string, name: keyof TlsTexts): FollowedFile {
    const { clock, log, pollEveryMs = pollEveryMsDefault } = this.#parts
    return new FollowedFile({
      path,
      clock,
      pollEveryMs,
      take: ({ text }) => {
        this.#found = { ...this.#found, [name]: text }
      },
      taken: () => {
        this.#replace(path)
      },
      refused: ({ message }) => {
        log.error(
          { path, reason: message },
          'a file of certificates cannot be read; those before stay in use',
        )
      },
    })
  }

  #replace(path: string): void {
    const { log } = this.#parts
    try {
      this.#use()
    } catch (error) {
      log.warn(
        { path, reason: toFleetError(error).message },
        'the new certificates are not used yet: certificate and key do not fit, or are no PEM',
      )
      return
    }
    log.info({ path }, 'new certificates are used for new connections')
    for (const listener of this.#listeners) listener()
  }

  #use(): void {
    const texts = this.#found
    this.#used = { texts, context: makeSecureContext(texts) }
    const { clock, log, paths } = this.#parts
    const endsAtMs = this.expiresAtMs()
    if (endsAtMs === null || endsAtMs - clock.now() > expiryWarningMs) return
    log.warn({ path: paths.certificate, ends: new Date(endsAtMs).toISOString() }, 'the certificate ends soon')
  }
}
