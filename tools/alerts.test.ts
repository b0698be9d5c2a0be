// Alert rules and dashboard: every metric that they name is one of the table, every alert has its runbook, promtool
// takes all expressions, and the rules say what they should of made-up series.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { METRICS } from '../packages/server/src/runtime/mod.ts'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const rulesFile = join(root, 'deploy/prometheus/alerts.yml')
const rules = readFileSync(rulesFile, 'utf8')

interface Panel {
  readonly title: string
  readonly targets?: readonly { readonly expr: string }[]
}
const dashboard = JSON.parse(readFileSync(join(root, 'deploy/grafana/fleetshard.json'), 'utf8')) as {
  readonly panels: readonly Panel[]
  readonly templating: { readonly list: readonly { readonly query: string }[] }
}
const expressions = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
const queries = dashboard.templating.list.map(({ query }) => query)

/** Names in a text that no metric of the table has; a histogram has three more for each. */
function unknownNames(text: string): string[] {
  return (text.match(/\bfleetshard_[a-z_]+\b/g) ?? []).filter((found) => {
    const name = found.replace('fleetshard_', '')
    const base = name.replace(/_(?:bucket|sum|count)$/, '')
    const isPart = base !== name && METRICS[base]?.type === 'histogram'
    return !isPart && (METRICS[name] === undefined || METRICS[name].type === 'histogram')
  })
}

function promtool(...words: string[]): string {
  const { status, stdout, stderr } = spawnSync('promtool', words, { cwd: root, encoding: 'utf8' })
  return status === 0 ? '' : `${stdout}${stderr}`
}

describe('alert rules', () => {
  const alerts = [...rules.matchAll(/- alert: (\w+)[\s\S]*?runbook_url: (\S+)/g)]

  test('name metrics of the table only', () => {
    expect(unknownNames(rules)).toEqual([])
    expect(unknownNames('rate(fleetshard_nothing_total[5m])')).toEqual(['fleetshard_nothing_total'])
  })

  test('have a runbook each, which begins with the name of its alert', () => {
    expect(alerts.length).toBe((rules.match(/- alert: /g) ?? []).length)
    for (const [, name, page = ''] of alerts) {
      expect(existsSync(join(root, page)), page).toBe(true)
      expect(readFileSync(join(root, page), 'utf8').split('\n')[0]).toBe(`# ${String(name)}`)
    }
  })

  test('are all listed, and no runbook is without its alert', () => {
    const index = readFileSync(join(root, 'docs/runbooks/README.md'), 'utf8')
    const pages = readdirSync(join(root, 'docs/runbooks')).filter((name) => name !== 'README.md')
    const named = alerts.map(([, , page = '']) => page.replace('docs/runbooks/', ''))
    expect(new Set(named)).toEqual(new Set(pages))
    expect(named).toHaveLength(pages.length)
    for (const page of pages) expect(index).toContain(`(${page})`)
  })

  test('links between runbooks and other pages lead somewhere', () => {
    const folder = join(root, 'docs/runbooks')
    for (const name of readdirSync(folder)) {
      const links = readFileSync(join(folder, name), 'utf8').matchAll(/\]\(([^)#]+)\)/g)
      for (const [, target = ''] of links)
        expect(existsSync(join(folder, target)), `${name}: ${target}`).toBe(true)
    }
  })
})

describe('dashboard', () => {
  test('names metrics of the table only, in every panel', () => {
    expect(expressions.length).toBeGreaterThan(30)
    for (const expr of [...expressions, ...queries]) expect(unknownNames(expr), expr).toEqual([])
  })

  test('shows or watches every size that there is but the heap', () => {
    const shown = [...expressions, rules].join('\n')
    const hidden = Object.entries(METRICS).flatMap(([name, { unit }]) =>
      unit === 'bytes' && !shown.includes(`fleetshard_${name}`) ? [name] : [],
    )
    expect(hidden).toEqual(['process_heap_bytes'])
  })
})

const isMissing = spawnSync('promtool', ['--version']).status !== 0

// Debian's package prometheus has it; the checks on CI insist.
describe.skipIf(isMissing && process.env['FLEETSHARD_REQUIRE_PROMTOOL'] === undefined)('promtool', () => {
  test('finds nothing in the rules', () => {
    expect(promtool('check', 'rules', '--lint=all', '--lint-fatal', rulesFile)).toBe('')
  })

  test('sees the alerts raised and taken back as they should be', () => {
    expect(promtool('test', 'rules', join(root, 'deploy/prometheus/alerts.test.yml'))).toBe('')
  })

  test('takes every expression of the dashboard', () => {
    const folder = mkdtempSync(join(tmpdir(), 'fleetshard-dashboard-'))
    try {
      const path = join(folder, 'dashboard.yml')
      const plain = expressions.map((expr) =>
        expr.replaceAll('$__rate_interval', '5m').replaceAll('$__range', '1h').replaceAll(/\$\w+/g, '.*'),
      )
      const records = plain.map((expr, index) => ({ record: `panel:${String(index)}`, expr }))
      writeFileSync(path, JSON.stringify({ groups: [{ name: 'dashboard', rules: records }] }))
      expect(promtool('check', 'rules', path)).toBe('')
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
})
