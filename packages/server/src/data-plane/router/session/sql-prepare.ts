// What PREPARE of SQL makes in keyspaces with several shards: a statement of the session, like those of the protocol.
import { FleetError } from '@fleetshard/core'
import type { PreparedCommand } from '@fleetshard/routing/plan'
import type { SessionState } from './session-state.ts'
import type { WireStatement } from './wire-statements.ts'

/** OIDs of the types that may be named in PREPARE (src/include/catalog/pg_type.dat). */
const TYPES: Readonly<Record<string, number>> = {
  bool: 16,
  bytea: 17,
  int8: 20,
  int2: 21,
  int4: 23,
  text: 25,
  json: 114,
  float4: 700,
  float8: 701,
  varchar: 1043,
  date: 1082,
  timestamp: 1114,
  timestamptz: 1184,
  numeric: 1700,
  uuid: 2950,
  jsonb: 3802,
}

/** True where the session, and not one server, keeps what SQL prepares. */
export const keepsPrepared = (state: SessionState): boolean => state.map.owners.length > 1

/** What a PREPARE gives its name to. @throws FleetError `statement_refused` for a type that is not known here */
export function preparedStatement(
  { environment }: SessionState,
  { types, text }: Extract<PreparedCommand, { kind: 'prepare' }>,
): WireStatement {
  const oids = types.map((name) => {
    const oid = TYPES[name.replace(/^pg_catalog\./, '')]
    if (oid !== undefined) return oid
    throw refused(
      `PREPARE with a parameter of type ${name}`,
      'leave the types out, or prepare by the protocol',
    )
  })
  return environment.wireStatements.get(text, oids)
}

/** What of PREPARE and EXECUTE only one server could do. */
export const refused = (
  reason: string,
  hint = 'prepare by the protocol, as drivers do: a shard is chosen at each execution',
): FleetError => new FleetError('statement_refused', reason, { hint })
