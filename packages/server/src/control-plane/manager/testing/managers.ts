// Running managers for tests: real HTTP, the memory store or a real one, and whatever engine the test gives.
import { randomUUID } from 'node:crypto'
import type {
  CreatedNode,
  FleetNode,
  HashRange,
  Job,
  JobList,
  KeyspaceList,
  NodeList,
  ShardList,
  TableList,
  TableSuggestionList,
} from '@fleetshard/core/contract'
import type { AgentClient } from '../../../agent-api/mod.ts'
import { createCatalog, type Catalog, type CatalogStore } from '../../../catalog/mod.ts'
import type { ShardEngine } from '../../../engine/mod.ts'
import { createMetrics, silentLogger, systemClock, type Logger } from '../../../runtime/mod.ts'
import { createSecretResolver, type KnownTokens, type SessionCheck } from '../../../security/mod.ts'
import { createAuditLog, type AuditEntry } from '../../../audit/mod.ts'
import { openGate, type Gate } from '../../../runtime/http/mod.ts'
import type { SignInSetting } from '../deps.ts'
import { createManager, type Manager } from '../manager.ts'
import { holdToContract } from './contract-check.ts'

/** A manager that runs until it is disposed of. */
export interface RunningManager extends AsyncDisposable {
  readonly manager: Manager
  readonly url: string
  readonly catalog: Catalog
  /** What became of every change. */
  readonly audit: readonly AuditEntry[]
  readonly metrics: () => Promise<string>
  /** One request; the body is sent as JSON unless it is a string. */
  send(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Reply>
  /** Resolves when it leads. */
  leads(): Promise<void>
}

/**
 * The fields of all answers in one: tests read those of the answer that they asked for, and the contract check holds
 * each answer to its own form.
 */
export interface AnswerBody
  extends
    ShardList,
    KeyspaceList,
    TableList,
    TableSuggestionList,
    JobList,
    NodeList,
    Pick<CreatedNode, 'endpoint'> {
  readonly nodes: FleetNode[]
  readonly id: string
  readonly hint: string
  readonly status: string
  readonly epoch: number
  readonly vnodes: string[]
  readonly ranges: HashRange[]
  readonly replicas: string[]
  readonly status_reason: string
  readonly job: Job
  readonly leader_url: string | null
  readonly code: string
  readonly title: string
  readonly detail: string
  readonly trace_id: string
}

/** An answer with its JSON. */
export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly body: AnswerBody
}

/** What a test gives a manager. */
export interface ManagerSetting {
  readonly store: CatalogStore
  readonly engine: ShardEngine
  readonly agent?: AgentClient
  readonly id?: string
  readonly leaseTtlMs?: number
  /** Everybody is let in by default. */
  readonly gate?: (tokens: () => KnownTokens, sessions: SessionCheck | null) => Gate
  /** Nobody signs in with a browser by default. */
  readonly signIn?: SignInSetting
  /** Where it logs; nowhere by default. */
  readonly log?: Logger
  /** What the audit log fails with; null lets it work. */
  readonly auditFault?: (entry: AuditEntry) => Error | null
}

/** Starts a manager and waits until it answers. */
export async function startManager(setting: ManagerSetting): Promise<RunningManager> {
  const catalog = createCatalog({ store: setting.store, clock: systemClock, uuid: randomUUID })
  const metrics = createMetrics(false)
  const audit: AuditEntry[] = []
  const log = createAuditLog({ store: setting.store, clock: systemClock, recordsMax: 1_000 })
  const manager = createManager({
    log: setting.log ?? silentLogger,
    clock: systemClock,
    catalog,
    engine: () => setting.engine,
    agent: () => {
      if (setting.agent === undefined) throw new Error('this test has no agent')
      return setting.agent
    },
    secrets: createSecretResolver({
      sources: { env: () => undefined, catalog: (name, signal) => catalog.secrets.get(name, signal) },
      clock: systemClock,
    }),
    metrics,
    audit: {
      list: (query) => log.list(query),
      verify: () => log.verify(),
      append(entry) {
        const fault = setting.auditFault?.(entry) ?? null
        if (fault !== null) return Promise.reject(fault)
        if (entry.phase !== 'begun') audit.push(entry)
        return log.append(entry)
      },
    },
    gate: setting.gate ?? (() => openGate),
    signIn: setting.signIn ?? null,
    options: {
      id: setting.id ?? `manager-${randomUUID().slice(0, 8)}`,
      version: '0.0.0-test',
      host: '127.0.0.1',
      port: 0,
      nodeCheckMs: 3_000,
      leaseTtlMs: setting.leaseTtlMs ?? 2_000,
      catalogProbeMs: 200,
    },
  })
  const stop = new AbortController()
  const running = manager.run(stop.signal)
  await Promise.race([manager.ready(), running])
  const url = await manager.url()
  return {
    manager,
    url,
    catalog,
    audit,
    metrics: () => metrics.text(),
    async send(method, path, body, headers) {
      const reply = await send(url + path, method, body, headers)
      await holdToContract(url, method, path, reply)
      return reply
    },
    leads: () => waitFor(() => manager.isLeader()),
    async [Symbol.asyncDispose]() {
      stop.abort()
      await running
      await manager[Symbol.asyncDispose]()
    },
  }
}

async function send(
  url: string,
  method: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Reply> {
  const isJson = body !== undefined
  const response = await fetch(url, {
    method,
    headers: { ...(isJson ? { 'content-type': 'application/json' } : {}), ...headers },
    ...(isJson ? { body: typeof body === 'string' ? body : JSON.stringify(body) } : {}),
  })
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    body: (text === '' ? undefined : JSON.parse(text)) as AnswerBody,
  }
}

/** Resolves when the condition holds. */
export async function waitFor(condition: () => boolean | Promise<boolean>, withinMs = 15_000): Promise<void> {
  const deadline = systemClock.monotonic() + withinMs
  while (!(await condition())) {
    if (systemClock.monotonic() > deadline) throw new Error(`waited in vain: ${condition.toString()}`)
    await systemClock.sleep(10)
  }
}
