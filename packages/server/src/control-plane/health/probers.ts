// The probers of a controller that leads: one for each server that is looked at, for as long as it is where it was.
import type { NodeId, NodeRecord } from '@fleetshard/core'
import type { HealthEngine, NodeProber } from '../../engine/mod.ts'
import type { HealthParts } from './parts.ts'

interface Held {
  readonly place: string
  readonly prober: NodeProber
}

/** Opens probers when they are asked for. */
export class NodeProbers implements Disposable {
  readonly #target: HealthParts['target']
  /** One for all: what its probers share about servers counts. */
  readonly #engine: HealthEngine
  readonly #held = new Map<NodeId, Held>()

  constructor(parts: Pick<HealthParts, 'engine' | 'target'>) {
    this.#target = parts.target
    this.#engine = parts.engine('postgres')
  }

  /** @throws FleetError as the secret's resolution */
  async of(node: NodeRecord, signal: AbortSignal): Promise<NodeProber> {
    const place = placeOf(node)
    const held = this.#held.get(node.id)
    if (held?.place === place) return held.prober
    this.drop(node.id)
    const prober = this.#engine.prober(await this.#target(node, signal))
    this.#held.set(node.id, { place, prober })
    return prober
  }

  /** A server that did not answer is asked anew, with its password as it is then. */
  drop(id: NodeId): void {
    this.#held.get(id)?.prober[Symbol.dispose]()
    this.#held.delete(id)
  }

  /** Closes those of servers that are in no shard any more. */
  keepOnly(ids: ReadonlySet<NodeId>): void {
    for (const id of this.#held.keys()) if (!ids.has(id)) this.drop(id)
  }

  [Symbol.dispose](): void {
    this.keepOnly(new Set())
  }
}

/** What a login depends on. */
const placeOf = ({ host, port, database, user, tls, secretRef }: NodeRecord): string =>
  JSON.stringify([host, port, database, user, tls, secretRef])
