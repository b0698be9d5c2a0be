// A private authority in a folder, for tests of TLS: made as `fleetshard certs` makes it.
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../runtime/mod.ts'
import { makeAuthority, signCertificate, type KeyPairPem } from './authority.ts'
import type { TlsPaths } from './tls-files.ts'

const hourMs = 60 * 60 * 1000

/** An authority, with a folder for what it signs. */
export interface TestAuthority extends Disposable {
  readonly folder: string
  /** Its certificate. */
  readonly ca: string
  /** Signs one, for this machine by default, and writes it over what is there by that name. */
  write(
    name: string,
    hosts?: readonly string[],
  ): Promise<{ readonly paths: TlsPaths; readonly pair: KeyPairPem }>
}

/** Valid from an hour ago to an hour from now. */
export async function testAuthority(): Promise<TestAuthority> {
  const folder = mkdtempSync(join(tmpdir(), 'fleetshard-tls-'))
  const nowMs = systemClock.now()
  const validity = { fromMs: nowMs - hourMs, untilMs: nowMs + hourMs }
  const authority = await makeAuthority(validity)
  const put = (file: string, text: string): string => {
    const path = join(folder, file)
    writeFileSync(`${path}.new`, text, { mode: 0o600 })
    renameSync(`${path}.new`, path)
    return path
  }
  const caPath = put('ca.crt', authority.certificate)
  return {
    folder,
    ca: authority.certificate,
    async write(name, hosts = ['localhost', '127.0.0.1']) {
      const pair = await signCertificate(authority, { name, hosts }, validity)
      const certificate = put(`${name}.crt`, pair.certificate)
      return { pair, paths: { ca: caPath, certificate, key: put(`${name}.key`, pair.key) } }
    },
    [Symbol.dispose]() {
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
