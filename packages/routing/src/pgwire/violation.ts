// The one way in which this codec fails: bytes that are not what the protocol allows.
import { FleetError } from '@fleetshard/core'

/** Error for bytes that break the protocol; the connection they came over can't be used any more. */
export function protocolViolation(message: string): FleetError {
  return new FleetError('protocol_violation', message)
}

/** Error for a first message of a size that none can have: whoever sent it hears nothing, as from Postgres. */
export function startupSizeViolation(bytes: number): FleetError {
  return new FleetError('protocol_violation', `a startup message claims ${String(bytes)} bytes`, {
    facts: { startup_bytes: bytes },
  })
}

/** True for an error of `startupSizeViolation`. */
export const isStartupSize = ({ facts }: FleetError): boolean => facts['startup_bytes'] !== undefined
