// The links of a fault cluster beside those to the catalog: from each process to each database server, and to the agent.
// One is put in when a scenario asks for it; from then on every byte of that way goes through it.
import { writeFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { AgentGate } from './agent-gate.ts'
import { FaultProxy } from './proxy.ts'

/** Resets of what was connected past a new link are done by then. */
const settleMs = 200
const launcher = new URL('dial.ts', import.meta.url).pathname

/** All of them, by process and port. */
export class Links implements AsyncDisposable {
  readonly #folder: string
  readonly #links = new Map<string, Map<number, FaultProxy | AgentGate>>()

  /** @param folder for the files that tell the processes of their links */
  constructor(folder: string) {
    this.#folder = folder
  }

  /** What a process needs to be told from its start on. */
  environmentOf(member: string): Readonly<Record<string, string>> {
    return { NODE_OPTIONS: `--import=${launcher}`, FAULTS_DIAL_FILE: this.#fileOf(member) }
  }

  /** The link of a process to a port of this machine. */
  async to(member: string, port: number): Promise<FaultProxy> {
    const found = this.#links.get(member)?.get(port)
    if (found instanceof FaultProxy) return found
    const proxy = await FaultProxy.open({ host: '127.0.0.1', port })
    await this.#put(member, port, proxy)
    return proxy
  }

  /** The gate between a process and the agent on that port. */
  async gate(member: string, port: number): Promise<AgentGate> {
    const found = this.#links.get(member)?.get(port)
    if (found instanceof AgentGate) return found
    const gate = await AgentGate.open(port)
    await this.#put(member, port, gate)
    return gate
  }

  /** As if nothing was ever wrong with any of them. */
  heal(): void {
    for (const links of this.#links.values()) for (const link of links.values()) link.heal()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = [...this.#links.values()].flatMap((links) => [...links.values()])
    await Promise.all(all.map((link) => link[Symbol.asyncDispose]()))
  }

  async #put(member: string, port: number, link: FaultProxy | AgentGate): Promise<void> {
    const links = this.#links.get(member) ?? new Map<number, FaultProxy | AgentGate>()
    this.#links.set(member, links.set(port, link))
    const rules = Object.fromEntries([...links].map(([near, { port: through }]) => [near, through]))
    const file = this.#fileOf(member)
    writeFileSync(`${file}.new`, JSON.stringify(rules))
    renameSync(`${file}.new`, file)
    await new Promise((resolve) => setTimeout(resolve, settleMs))
  }

  #fileOf(member: string): string {
    return join(this.#folder, `${member}.links.json`)
  }
}
