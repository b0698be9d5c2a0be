// The door of an HTTP server: finds out who asks before the body is read, and keeps out those who may not.
import {
  everybody,
  nobody,
  requirePermission,
  toFleetError,
  type FleetError,
  type Permission,
  type Principal,
} from '@fleetshard/core'
import type { FastifyRequest } from 'fastify'
import type { IncomingMessage } from 'node:http'

/** Finds out who asks. */
export interface Gate {
  /**
   * By the header `authorization`; at once where the caller is known already. Without one it is `nobody`, or
   * `everybody` where nobody is asked.
   * @throws FleetError `unauthenticated` for a token that is not valid, `rate_limited`, `identity_unavailable`
   */
  enter(request: IncomingMessage): Principal | Promise<Principal>
}

/** Lets everybody in: for servers that only their own machine reaches. */
export const openGate: Gate = { enter: () => everybody }

/** A request that was kept out. */
export interface Refusal {
  readonly route: { readonly method: string; readonly url: string; readonly kind: string }
  readonly request: FastifyRequest
  readonly principal: Principal
  readonly error: FleetError
}

/** A gate, and who is told of those whom it keeps out. */
export interface Door {
  readonly gate: Gate
  readonly onRefused?: (refusal: Refusal) => Promise<void>
}

/** A door that stands open. */
export const openDoor: Door = { gate: openGate }

const principals = new WeakMap<FastifyRequest, Principal>()

/** Who sent the request, as the door has found out. */
export const principalOf = (request: FastifyRequest): Principal => principals.get(request) ?? nobody

/** @throws FleetError of the gate; `unauthenticated`, `forbidden` */
export async function letIn(
  request: FastifyRequest,
  route: Refusal['route'] & { readonly permission: Permission },
  { gate, onRefused }: Door,
): Promise<void> {
  if (route.permission === 'open') return
  let principal = nobody
  try {
    principal = await gate.enter(request.raw)
    requirePermission(principal, route.permission)
    principals.set(request, principal)
  } catch (thrown) {
    const error = toFleetError(thrown)
    await onRefused?.({ route, request, principal, error })
    throw error
  }
}
