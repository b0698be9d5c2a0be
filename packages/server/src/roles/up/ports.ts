// The ports of a local cluster: chosen before anything starts, so that a port that was asked for and is taken stops
// it at once, and chosen again right before they are used, since the servers take seconds to start.
import { schemeOf } from '../certificates.ts'
import { reachableHost, urlHost } from '../loopback.ts'
import { choosePorts, flagOf, type Config, type PortChoice, type PortKey } from '../../runtime/mod.ts'

/** All ports that `up` listens on, in the order they are printed. */
export const UP_PORTS = [
  'router.http-port',
  'router.wire-port',
  'manager.http-port',
  'agent.port',
  'router.metrics-port',
  'manager.metrics-port',
  'worker.metrics-port',
  'agent.metrics-port',
] as const satisfies readonly PortKey[]

/** The settings with the chosen ports, and what has to be said about them. */
export interface ChosenPorts {
  readonly config: Config
  /** A line for each default that gave way. */
  readonly notes: readonly string[]
}

/** @throws FleetError `port_taken` for a port that was asked for, `invalid_config` for one that is asked for twice */
export async function choosePortsOfUp(config: Config): Promise<ChosenPorts> {
  const chosen = await choosePorts(config, UP_PORTS)
  const ports = Object.fromEntries([...chosen].map(([key, { port }]) => [key, port]))
  return { config: config.with(ports), notes: [...chosen.values()].flatMap(noteOf) }
}

/** How this machine reaches the server on that port. */
export function urlOf(config: Config, key: (typeof UP_PORTS)[number]): string {
  const host = urlHost(reachableHost(config.get('bind-host')))
  return `${schemeOf(config)}://${host}:${String(config.get(key))}`
}

function noteOf({ key, port, instead }: PortChoice): readonly string[] {
  if (instead === null) return []
  const holder =
    instead.holder === null
      ? 'another process'
      : `process ${String(instead.holder.pid)} (${instead.holder.command})`
  return [
    `port ${String(instead.port)} is taken by ${holder}; ${key} is ${String(port)} (${flagOf(key)} chooses)`,
  ]
}
