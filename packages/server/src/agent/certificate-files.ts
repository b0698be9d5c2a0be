// The certificates of a server as files beside its configuration: Postgres shows them, and as a replica shows them to
// its upstream. Copies, for Postgres wants a key that belongs to the user who runs it and that nobody else can read.
import type { ServerTls } from '../runtime/mod.ts'
import { writeFileAtomic } from './files.ts'
import type { ServerLayout } from './layout.ts'
import { certificatesOf, type ServerCertificates } from './listening.ts'
import type { ServerUser } from './os-user.ts'

/** Paths of the copies. */
export type CertificateFiles = Pick<ServerLayout, 'caFile' | 'certificateFile' | 'keyFile'>

/** Keeps the copies of one server. A server that runs reads them when it is told to read its configuration. */
export class CertificateCopies {
  readonly #files: CertificateFiles
  readonly #tls: ServerTls
  readonly #owner: ServerUser
  #copied: ServerCertificates | null = null
  #turn: Promise<void> = Promise.resolve()

  constructor(files: CertificateFiles, tls: ServerTls, owner: ServerUser) {
    this.#files = files
    this.#tls = tls
    this.#owner = owner
  }

  /** True when the copies are those of now. */
  isCurrent(): boolean {
    const now = this.#now()
    const { ca, certificate, key } = this.#copied ?? { ca: '', certificate: '', key: '' }
    return ca === now.ca && certificate === now.certificate && key === now.key
  }

  /** Writes what is current when its turn comes: a key does not fit the certificate of another writer. */
  copy(): Promise<void> {
    const turn = this.#turn.then(() => this.#write())
    this.#turn = turn.catch(() => undefined)
    return turn
  }

  #now(): ServerCertificates {
    return certificatesOf(this.#tls.source.texts())
  }

  async #write(): Promise<void> {
    const now = this.#now()
    const access = { mode: 0o600, owner: this.#owner }
    await writeFileAtomic(this.#files.keyFile, now.key, access)
    await writeFileAtomic(this.#files.certificateFile, now.certificate, access)
    await writeFileAtomic(this.#files.caFile, now.ca, access)
    this.#copied = now
  }
}
