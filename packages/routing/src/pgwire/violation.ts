// The one way in which this codec fails: bytes that are not what the protocol allows.
import { FleetError } from '@fleetshard/core'

/** Error for bytes that break the protocol; the connection they came over can't be used any more. */
export function protocolViolation(message: string): FleetError {
  return new FleetError('protocol_violation', message)
}
