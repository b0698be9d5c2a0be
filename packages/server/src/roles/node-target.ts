// How the engines reach a node of a record.
import type { NodeRecord } from '@fleetshard/core'
import type { NodeTarget } from '../engine/mod.ts'
import type { SecretResolver } from '../security/mod.ts'

/** A node of a record with its password. @throws FleetError `secret_unavailable` */
export async function targetOf(
  {
    secrets,
    tlsContext,
  }: { readonly secrets: SecretResolver; readonly tlsContext: NodeTarget['tlsContext'] },
  node: NodeRecord,
  signal: AbortSignal,
): Promise<NodeTarget> {
  const { host, port, database, user, tls, secretRef } = node
  const password = await secrets.resolve(secretRef, signal)
  return { host, port, database, user, tls, tlsContext, password }
}
