// What a command is given: settings, terminal, time, and clients of the running fleet, made when first asked for.
import { createAdminClient, type AdminClient, type ChangeOptions } from '@fleetshard/client/admin'
import { fetchOverTls, makeSecureContext, pemOf, type TlsTexts } from '@fleetshard/core/tls'
import { FleetError, type Clock } from '@fleetshard/core'
import { readFileSync } from 'node:fs'
import {
  dataDirOf,
  readAdminToken,
  runningCluster,
  type ClusterState,
  type Config,
  type Environment,
} from '../runtime/mod.ts'
import { OUTPUT_FORMATS, styleFor, type OutputFormat, type Style } from './output/mod.ts'
import type { Options } from './options.ts'
import { createRouterClient, type RouterClient } from './router-client.ts'
import type { Terminal } from './terminal.ts'

/** Outside things that commands use. */
export interface CliDependencies {
  readonly env: Environment
  readonly terminal: Terminal
  readonly clock: Clock
  /** Aborts at the first Ctrl-C or SIGTERM. */
  readonly stop: AbortSignal
  /** Aborts at the second one. */
  readonly forced: AbortSignal
  readonly fetch: typeof fetch
  readonly cwd: string
  /** Of FleetShard. */
  readonly version: string
}

/** One call of a command. */
export interface CommandContext extends CliDependencies {
  readonly config: Config
  readonly options: Options
  readonly output: OutputFormat
  /** For standard output. */
  readonly style: Style
  /** For standard error. */
  readonly errStyle: Style
  /** The local cluster that runs on the data directory, if any. */
  readonly cluster: ClusterState | null
  readonly managerUrl: string
  readonly routerUrl: string
  readonly admin: AdminClient
  readonly router: RouterClient
  /** Signal and reason, for changes. */
  readonly change: ChangeOptions
  /** The same call with another terminal. */
  withTerminal(terminal: Terminal): CommandContext
}

/** The context of one call; clients and the cluster's state are looked up when first used. */
export function createContext(
  dependencies: CliDependencies,
  config: Config,
  options: Options,
): CommandContext {
  const { env, terminal, cwd, stop } = dependencies
  let cluster: ClusterState | null | undefined
  const clusterOf = (): ClusterState | null => (cluster ??= runningCluster(dataDirOf(config, cwd)))
  const urlOf = (key: 'manager-url' | 'router-url'): string => {
    const name = key === 'manager-url' ? 'manager' : 'router'
    return (
      config.get(key) ?? clusterOf()?.urls[name] ?? `http://127.0.0.1:${name === 'manager' ? '8081' : '8080'}`
    )
  }
  /** The operator's own is for the local cluster alone: it is not sent to an address that somebody names. */
  const tokenFor = (key: 'manager-url' | 'router-url'): string | null => {
    const file = config.get('token-file')
    const given = file === null ? config.get('token') : readTokenFile(file)
    if (given !== null || config.get(key) !== null) return given
    const local = clusterOf()
    return local === null ? null : readAdminToken(local.dataDir)
  }
  const timeoutMs = config.get('request-timeout-ms')
  const send = tlsFetch(dependencies.fetch, config, clusterOf)
  return {
    ...dependencies,
    fetch: send,
    config,
    options,
    output: options.choice('output', OUTPUT_FORMATS) ?? 'table',
    style: styleFor(terminal.outIsTerminal, env),
    errStyle: styleFor(terminal.errIsTerminal, env),
    get cluster() {
      return clusterOf()
    },
    get managerUrl() {
      return urlOf('manager-url')
    },
    get routerUrl() {
      return urlOf('router-url')
    },
    get admin() {
      const token = tokenFor('manager-url')
      return createAdminClient({
        url: urlOf('manager-url'),
        timeoutMs,
        fetch: send,
        ...(token === null ? {} : { token }),
      })
    },
    get router() {
      return createRouterClient({
        url: urlOf('router-url'),
        token: tokenFor('router-url'),
        timeoutMs,
        signal: stop,
        fetch: send,
      })
    },
    get change() {
      const reason = options.text('reason')
      return { signal: stop, ...(reason === undefined ? {} : { reason }) }
    },
    withTerminal: (other) => createContext({ ...dependencies, terminal: other }, config, options),
  }
}

/**
 * fetch by the certificates of the settings, else by those of the running local cluster: read at the first request
 * under TLS, so that commands that ask nobody need none.
 */
function tlsFetch(plain: typeof fetch, config: Config, clusterOf: () => ClusterState | null): typeof fetch {
  let overTls: typeof fetch | null = null
  const open = (): typeof fetch => {
    const given = {
      ca: config.get('tls.ca'),
      certificate: config.get('tls.cert'),
      key: config.get('tls.key'),
    }
    const isGiven = Object.values(given).some((path) => path !== null)
    const local = isGiven ? undefined : clusterOf()?.tls
    const texts = local === undefined ? readTexts(given) : readLocal(local)
    const context = makeSecureContext(texts)
    return fetchOverTls(() => context)
  }
  return async (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input)
    if (url.protocol !== 'https:') return plain(input, init)
    overTls ??= open()
    return overTls(url, init)
  }
}

function readTexts({ ca, certificate, key }: TlsTexts): TlsTexts {
  const read = (path: string | null): string | null => (path === null ? null : pemOf(path))
  return { ca: read(ca), certificate: read(certificate), key: read(key) }
}

/** What this account may not read is not for it: the authority alone does where nobody wants a certificate. */
function readLocal(paths: TlsTexts): TlsTexts {
  try {
    return readTexts(paths)
  } catch {
    return readTexts({ ...paths, certificate: null, key: null })
  }
}

/** @throws FleetError `invalid_config` */
function readTokenFile(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (cause) {
    throw new FleetError('invalid_config', `the token file ${path} cannot be read`, { cause })
  }
}
