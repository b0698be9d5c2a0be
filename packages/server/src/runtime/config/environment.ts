// The environment of the process. The only file that reads process.env; everybody else is handed what this returns.

/** Variables of the process. */
export type Environment = Readonly<Record<string, string | undefined>>

/** A copy of the process's variables. Call it once, in main. */
export function readEnvironment(): Environment {
  return { ...process.env }
}

/**
 * True for variables that Kubernetes sets in every pod for a service called fleetshard-…: they look like
 * misspelt settings and are none.
 */
export function isServiceLink(name: string, value: string): boolean {
  if (/_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$/.test(name)) return true
  return (
    /_PORT(_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)?$/.test(name) &&
    (/^(tcp|udp|sctp):\/\//.test(value) || /_PORT_\d+_/.test(name))
  )
}
