// `plan`: what a statement of the simple protocol costs the planner once it is known: lexing, the look into the plan
// cache, the key bound and placed. Peer: the grammar of Postgres, as without a cache.
import { buildShardMap, type TableRecord } from '@fleetshard/core'
import { lexQuery, placeStatement, StatementCache } from '@fleetshard/routing/plan'
import { analyseText, loadGrammar } from '@fleetshard/routing/plan/grammar'
import { alternate, medianRuns, ratio, type Variant } from '../harness/alternate.ts'
import { atMost, describeMachine, type Report, type Run } from '../harness/report.ts'
import { testTable } from '@fleetshard/core/testing'
import { largeSnapshot } from './large-snapshot.ts'

const shardCount = 16
const vnodeCount = 256
const rounds = 7
const textCount = 20_000
const parsedCount = 500
const bytesMax = 64 * 1024 * 1024

/** What applications send most: look-ups, changes and new rows by key. */
const forms: readonly ((key: string, index: number) => string)[] = [
  (key) => `SELECT id, name, email FROM users WHERE user_id = '${key}'`,
  (key, index) =>
    `UPDATE users SET name = 'name ${String(index)}', logins = logins + 1 WHERE user_id = '${key}'`,
  (key, index) =>
    `INSERT INTO users (user_id, name, n) VALUES ('${key}', 'it''s ${String(index)}', ${String(index)})`,
  (key) =>
    `SELECT o.id, o.total FROM orders o JOIN users u ON u.user_id = o.user_id WHERE u.user_id = '${key}' AND o.state = 'open' ORDER BY o.id LIMIT 20`,
]

/** Measures planning. */
export async function plan(onRun: (run: Run) => void): Promise<Report> {
  await loadGrammar()
  const snapshot = largeSnapshot(shardCount, vnodeCount)
  const map = buildShardMap({ ...snapshot, tables: ['public.users', 'public.orders'].map(table) })
  const texts = Array.from({ length: textCount }, (_, index) => {
    const form = forms[index % forms.length] ?? String
    return form(`user-${String(index * 7919)}`, index)
  })
  const cache = new StatementCache({ analyse: (text) => Promise.resolve(analyseText(text)), bytesMax })
  for (const text of texts.slice(0, forms.length)) {
    const [lexed] = lexQuery(text)
    if (lexed !== undefined) await cache.loadLexed(lexed)
  }
  const planned = (text: string): number => {
    const [lexed] = lexQuery(text)
    const known = lexed === undefined ? null : cache.get(lexed.key)
    if (lexed === undefined || known === null) throw new Error(`not in the cache: ${text}`)
    return placeStatement(known, map, { params: [], literals: lexed.literals, target: lexed.hint }).id.length
  }
  const variants = [
    timed('hit', texts, planned),
    timed('lexer alone', texts, (text) => lexQuery(text)[0]?.key.length ?? 0),
    timed('grammar', texts.slice(0, parsedCount), (text) => analyseText(text).kind.length),
  ]
  for (const variant of variants) await variant.run(1)
  const measured = await alternate(variants, 1, rounds, onRun)
  const microseconds = (run: Run): number => 1e6 / run.ops_per_s
  const runs = medianRuns(measured)
  const timeOf = (name: string): number => {
    const run = runs.find(({ variant }) => variant === name)
    if (run === undefined) throw new Error(`${name} was not measured`)
    return run.cpu_us_per_op ?? microseconds(run)
  }
  return {
    workload: 'plan',
    machine: describeMachine(),
    runs,
    ratios: { 'grammar / hit, time': ratio(measured, 'grammar', 'hit', microseconds) },
    targets: [
      atMost('plan-cache hit with lexing and placement, µs of CPU', 3, timeOf('hit')),
      atMost('lexing, µs of CPU', 2, timeOf('lexer alone')),
    ],
    notes: [`${String(forms.length)} forms of statements, ${String(textCount)} texts, all values different`],
  }
}

const table = (name: string): TableRecord =>
  testTable(name, { keyspace: largeSnapshot(1, 1).keyspace.name, keyColumn: 'user_id' })

function timed(name: string, texts: readonly string[], work: (text: string) => number): Variant {
  return {
    name,
    run(clients) {
      const cpu = process.cpuUsage()
      const begun = performance.now()
      let sum = 0
      for (const text of texts) sum += work(text)
      const elapsedMs = performance.now() - begun
      const used = process.cpuUsage(cpu)
      if (sum === 0) throw new Error('nothing was planned')
      return Promise.resolve({
        variant: name,
        clients,
        ops_per_s: (texts.length * 1000) / elapsedMs,
        p50_ms: null,
        p99_ms: null,
        cpu_us_per_op: (used.user + used.system) / texts.length,
        rss_mb: process.memoryUsage.rss() / 2 ** 20,
      })
    },
  }
}
