// The probers of a controller that leads: one for each server that is looked at, for as long as it is where it was.
import type { NodeId, NodeRecord } from '@fleetshard/core'
import type { HealthEngine, NodeProber } from '../../engine/mod.ts'
import type { HealthParts } from './parts.ts'

interface Held {
  readonly node: NodeRecord
  readonly place: string
  readonly prober: NodeProber
}

/** What the server of a first prober bears is read so soon. */
const figuresFirstMs = 1_000
/** Each further one waits that much longer: a thousand do not log in twice within their first seconds. */
const figuresEachMs = 20

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

  /** The one that there is, of a node where it was. */
  held(node: NodeRecord): NodeProber | null {
    const held = this.#held.get(node.id)
    if (held === undefined) return null
    return held.node === node || held.place === placeOf(node) ? held.prober : null
  }

  /** @throws FleetError as the secret's resolution */
  async open(node: NodeRecord, signal: AbortSignal): Promise<NodeProber> {
    this.drop(node.id)
    const target = await this.#target(node, signal)
    const prober = this.#engine.prober(target, figuresFirstMs + this.#held.size * figuresEachMs)
    this.drop(node.id) // one that was opened meanwhile
    this.#held.set(node.id, { node, place: placeOf(node), prober })
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
