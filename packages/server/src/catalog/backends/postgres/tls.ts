// TLS of the catalog in Postgres: the mode is in the url, what is shown and trusted in the process's certificates.
import type { ConnectionOptions } from 'node:tls'
import type { TlsSource } from '../../../runtime/mod.ts'

/** A url without its mode, and what the driver is given instead; undefined leaves TLS to the url. */
export interface SplitUrl {
  readonly url: string
  readonly ssl: ConnectionOptions | undefined
}

/** Modes that demand TLS; a catalog's server is always verified, since whoever stands in for it is the fleet. */
const verified = new Set(['require', 'verify-ca', 'verify-full'])

/** The driver takes the mode of a url before all else, so it is taken out where the certificates are ours. */
export function splitTls(url: string, source: TlsSource | null): SplitUrl {
  const [, before = '', mode = '', after = ''] = /^([^?]*\?(?:.*&)?)sslmode=([^&]*)&?(.*)$/.exec(url) ?? []
  const hasOwnFiles = /[?&]ssl(?:rootcert|cert|key)=/.test(url)
  if (source === null || hasOwnFiles || !verified.has(mode)) return { url, ssl: undefined }
  const ssl = {
    rejectUnauthorized: true,
    // Asked at each connection: the driver copies the values when it connects.
    get secureContext() {
      return source.context()
    },
    ...hostOf(url),
  }
  return { url: (before + after).replace(/[?&]$/, ''), ssl }
}

/** The driver names the host for certificates only where it is no address. */
function hostOf(url: string): { readonly host?: string } {
  const host = /^[a-z+]+:\/\/(?:[^@/?]*@)?(?:\[([^\]]+)\]|([^:/?]*))/.exec(url)
  const name = host?.[1] ?? host?.[2] ?? ''
  return name === '' ? {} : { host: name }
}
