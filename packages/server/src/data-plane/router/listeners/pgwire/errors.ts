// An error of the router as a client of the wire protocol reads it.
import { ERRORS, toFleetError, type FleetError } from '@fleetshard/core'
import { writeErrorResponse, type ServerErrorFields, type WireWriter } from '@fleetshard/routing/pgwire'
import { serverFieldsOf } from '@fleetshard/routing/wire'

/** The fields that are sent for an error; what Postgres itself has said passes through in its own words. */
export function saidOf(thrown: unknown, severity: 'ERROR' | 'FATAL' = 'ERROR'): ServerErrorFields {
  const error = toFleetError(thrown)
  const fields = serverFieldsOf(error)
  if (fields !== null) return { ...fields, severity }
  const position = error.facts['position']
  return {
    severity,
    code: error.sqlstate,
    message: error.message,
    detail: detailOf(error),
    ...hintOf(error),
    ...(typeof position === 'number' ? { position } : {}),
  }
}

/** How a shard is named depends on the surface: there is no field of a request here. */
function hintOf({ code, hint }: FleetError): { hint?: string } {
  if (code === 'shard_key_required') {
    return {
      hint: "name it: SET fleetshard.shard_key = '…', SET fleetshard.shard = '…', or a comment /* fleetshard: shard_key='…' */ in the statement",
    }
  }
  if (hint !== undefined) return { hint }
  return code === 'table_not_declared' ? { hint: ERRORS[code].remedy } : {}
}

/** The code of the catalogue, and where it happened. */
function detailOf({ code, facts }: FleetError): string {
  const { shard_id: shard, node } = facts
  const where = [
    ...(typeof shard === 'string' ? [`shard ${shard}`] : []),
    ...(typeof node === 'string' ? [`node ${node}`] : []),
  ]
  return `fleetshard: ${code}${where.length === 0 ? '' : ` (${where.join(', ')})`}`
}

/** ErrorResponse for whatever was thrown. */
export function writeThrown(out: WireWriter, thrown: unknown, severity: 'ERROR' | 'FATAL' = 'ERROR'): void {
  writeErrorResponse(out, saidOf(thrown, severity))
}
