// Which columns of new and changed rows have values that the statement gives.
import { beforeAll, expect, it } from 'vitest'
import { givenColumns } from './given-columns.ts'
import { analyseText, loadGrammar } from './postgres/analyse-text.ts'

beforeAll(loadGrammar)

function given(text: string): (string[] | null)[] {
  const analysis = analyseText(text)
  if (analysis.kind !== 'statement') throw new Error(`${text}: ${analysis.kind}`)
  return givenColumns(analysis.facts.query).map(({ columns }) => (columns === null ? null : [...columns]))
}

it.each<[string, (string[] | null)[]]>([
  ['insert into t (id, n) values (1, default)', [['id']]],
  ['insert into t (id, n) values (default, $1), (default, null)', [['n']]],
  ['insert into t (id, n) values (default, 1), ($1, 1)', [['id', 'n']]],
  ['insert into t (id, n) select 1, 2', [['id', 'n']]],
  ['insert into t (id) values (1) limit 1', [['id']]],
  ['insert into t (n) values (1) on conflict (n) do update set id = 2', [['id', 'n']]],
  ['insert into t values (1)', [null]],
  ['insert into t default values', [[]]],
  ['update t set n = 1, (id, m) = (1, 2)', [['n', 'id', 'm']]],
  ['delete from t', [[]]],
  ['with w as (insert into t (id) values (1) returning id) update t set n = 1', [['id'], ['n']]],
  [
    'merge into t using s on t.a = s.a when matched then update set n = 1 when not matched then insert (id) values (1)',
    [['n', 'id']],
  ],
  ['explain analyze insert into t (id) values (1)', [['id']]],
  ['select 1', []],
])('%s', (text, expected) => {
  expect(given(text)).toEqual(expected)
})
