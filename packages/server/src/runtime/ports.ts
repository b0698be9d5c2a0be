// Choosing the ports of a process: a default that is taken gives way to the next free one, a port that somebody asked
// for never does; the error names who holds it.
import { FleetError } from '@fleetshard/core'
import { createServer } from 'node:net'
import { flagOf, type Config, type ConfigKey } from './config/mod.ts'
import { findPortHolder, type PortHolder } from './port-holder.ts'

/** The settings that are ports. */
export type PortKey = Extract<ConfigKey, `${string}port`>

/** One chosen port. */
export interface PortChoice {
  readonly key: PortKey
  readonly port: number
  /** The default that was taken and by whom, when another port had to be found; else null. */
  readonly instead: { readonly port: number; readonly holder: PortHolder | null } | null
}

/** What choosing needs of the machine; the real one by default. */
export interface PortProbe {
  /** True when a server could listen there now. 0 is always free. */
  isFree(host: string, port: number): Promise<boolean>
  holder(port: number): PortHolder | null
  /** Any free port. */
  any(host: string): Promise<number>
}

/** How far above a taken default a free port is looked for. */
export const portSearchMax = 100

/**
 * A port for each of the settings, all different. What is free now can be taken a moment later: the server that then
 * fails to listen says so by {@link listenError}.
 * @throws FleetError `port_taken` for a port that was asked for
 */
export async function choosePorts(
  config: Config,
  keys: readonly PortKey[],
  probe: PortProbe = machineProbe,
): Promise<ReadonlyMap<PortKey, PortChoice>> {
  const host = config.get('bind-host')
  const chosen = new Map<PortKey, PortChoice>()
  refuseSamePorts(config, keys)
  // Other settings' wishes are left alone, or a taken 8080 would push the manager from 8081.
  const spoken = new Set(keys.map((key) => config.get(key)))
  const ordered = [...keys].sort(
    (left, right) => Number(config.isGiven(right)) - Number(config.isGiven(left)),
  )
  for (const key of ordered) {
    const choice = await chooseOne({ config, key, host, spoken, probe })
    spoken.add(choice.port)
    chosen.set(key, choice)
  }
  return chosen
}

/** The error for a `listen` that failed: says who holds the port, and by which flag to choose another. */
export function listenError(error: unknown, flag: string, host: string, port: number): FleetError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (code === 'EADDRINUSE') return takenError(flag, host, port, findPortHolder(port))
  const why =
    code === 'EACCES'
      ? 'only root may listen on it'
      : code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND'
        ? 'this machine has no such address'
        : code
  return new FleetError('port_taken', `cannot listen on ${host}:${String(port)}: ${why}`, {
    hint: `choose another with ${flag}, or another address with ${flagOf('bind-host')}`,
    cause: error,
  })
}

interface Wish {
  readonly config: Config
  readonly key: PortKey
  readonly host: string
  readonly spoken: ReadonlySet<number>
  readonly probe: PortProbe
}

async function chooseOne({ config, key, host, spoken, probe }: Wish): Promise<PortChoice> {
  const wanted = config.get(key)
  if (wanted === 0) return { key, port: await anyPort(host, spoken, probe), instead: null }
  if (await probe.isFree(host, wanted)) return { key, port: wanted, instead: null }
  const holder = probe.holder(wanted)
  if (config.isGiven(key)) throw takenError(config.flagGiven(key) ?? flagOf(key), host, wanted, holder)
  for (let port = wanted + 1; port <= wanted + portSearchMax && port < 65_536; port += 1) {
    if (spoken.has(port) || !(await probe.isFree(host, port))) continue
    return { key, port, instead: { port: wanted, holder } }
  }
  throw takenError(flagOf(key), host, wanted, holder)
}

async function anyPort(host: string, spoken: ReadonlySet<number>, probe: PortProbe): Promise<number> {
  for (let attempt = 0; attempt < portSearchMax; attempt += 1) {
    const port = await probe.any(host)
    if (!spoken.has(port)) return port
  }
  throw new FleetError('port_taken', `no free port was found on ${host}`)
}

function refuseSamePorts(config: Config, keys: readonly PortKey[]): void {
  const seen = new Map<number, PortKey>()
  for (const key of keys.filter((each) => config.isGiven(each) && config.get(each) !== 0)) {
    const other = seen.get(config.get(key))
    if (other !== undefined) {
      throw new FleetError('invalid_config', `${other} and ${key} are both port ${String(config.get(key))}`, {
        hint: `give another port with ${flagOf(key)}`,
      })
    }
    seen.set(config.get(key), key)
  }
}

function takenError(flag: string, host: string, port: number, holder: PortHolder | null): FleetError {
  const who = holder === null ? 'another process' : `process ${String(holder.pid)} (${holder.command})`
  return new FleetError('port_taken', `port ${String(port)} on ${host} is taken by ${who}`, {
    hint: holder === null ? `choose another with ${flag}` : `stop it, or choose another port with ${flag}`,
    facts: { port, ...(holder === null ? {} : { pid: holder.pid }) },
  })
}

/** The ports of this machine. */
export const machineProbe: PortProbe = {
  isFree: (host, port) => tryListen(host, port).then((found) => found !== null),
  holder: findPortHolder,
  async any(host) {
    const port = await tryListen(host, 0)
    if (port === null) throw new FleetError('port_taken', `no free port was found on ${host}`)
    return port
  },
}

/** Listens for a moment: the port, or null when it is taken or not allowed. An unknown address is told by listen later. */
function tryListen(host: string, port: number): Promise<number | null> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND' ? port : null)
    })
    server.listen({ host, port, exclusive: true }, () => {
      const address = server.address()
      const found = typeof address === 'object' && address !== null ? address.port : port
      server.close(() => {
        resolve(found)
      })
    })
  })
}
