// The catalog of a process: opened from its settings, together with what reads secrets through it.
import { randomUUID } from 'node:crypto'
import { FleetError, type Clock } from '@fleetshard/core'
import {
  createCatalog,
  createCatalogView,
  openCatalogStore,
  type Catalog,
  type CatalogView,
  type SecretSealer,
} from '../catalog/mod.ts'
import type { NodeTarget } from '../engine/mod.ts'
import { envOf, flagOf, type Config, type Environment, type Logger } from '../runtime/mod.ts'
import {
  createEnvelopeSealer,
  createLocalKeyService,
  createSecretResolver,
  type KeySource,
  type SecretResolver,
  type TlsFiles,
} from '../security/mod.ts'

/** What opening takes. */
export interface CatalogParts {
  readonly config: Config
  readonly env: Environment
  readonly clock: Clock
  readonly log: Logger
  /** The process as the catalog's operator sees it: `router`, `manager`. */
  readonly role: string
  /** What this process shows and trusts; null for what the system trusts. */
  readonly tls: TlsFiles | null
}

/** An open catalog. Disposing closes its connections. */
export interface OpenCatalog extends AsyncDisposable {
  readonly catalog: Catalog
  readonly secrets: SecretResolver
  /** What opens secrets of the catalog; null where there are no keys. */
  readonly sealer: SecretSealer | null
  /** For shards that are reached under TLS. */
  readonly tlsContext: NodeTarget['tlsContext']
}

/**
 * Opens the catalog that `catalog.url` names. No I/O: the first operation connects.
 * @throws FleetError `invalid_config` when no catalog is named
 */
export function openCatalog(parts: CatalogParts): OpenCatalog {
  const { config, env, clock, log, role, tls } = parts
  const store = openCatalogStore(catalogUrl(config), {
    clock,
    log,
    applicationName: `fleetshard/${role}`,
    deadlineMs: config.get('catalog.timeout-ms'),
    tls,
  })
  const sealer = sealerOf(config)
  const catalog = createCatalog({ store, clock, sealer, uuid: randomUUID })
  const secrets = createSecretResolver({
    clock,
    sources: {
      env: (name) => env[name],
      catalog: (name, signal) => catalog.secrets.get(name, signal),
    },
  })
  const tlsContext = tls === null ? undefined : () => tls.context()
  return { catalog, secrets, sealer, tlsContext, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() }
}

/** Null where no keys are given. @throws FleetError `invalid_config` for both a file and a text */
function sealerOf(config: Config): SecretSealer | null {
  const [path, text] = [config.get('secrets.key-file'), config.get('secrets.key')]
  if (path !== null && text !== null) {
    throw new FleetError('invalid_config', 'both secrets.key-file and secrets.key are given', {
      hint: 'give the keys by one of them',
    })
  }
  const source: KeySource | null =
    path !== null ? { kind: 'file', path } : text !== null ? { kind: 'text', text } : null
  return source === null ? null : createEnvelopeSealer(createLocalKeyService(source))
}

/** A live view of the catalog, to be run by the caller. */
export function viewOf(catalog: Catalog, clock: Clock, log: Logger): CatalogView {
  return createCatalogView({ store: catalog.store, clock, log })
}

/** The URL with the password of its own setting, where it has none itself. */
function catalogUrl(config: Config): string {
  const text = config.get('catalog.url')
  if (text === null) {
    throw new FleetError('invalid_config', 'it is not said where the catalog is', {
      hint: `give ${flagOf('catalog.url')} (${envOf('catalog.url')}), or run everything on this machine: fleetshard up`,
    })
  }
  const password = config.get('catalog.password')
  if (password === null) return text
  // Not by URL: several hosts of etcd are none.
  return text.replace(
    /^([a-z+]+:\/\/[^:/@]+)@/,
    (_, user: string) => `${user}:${encodeURIComponent(password)}@`,
  )
}
