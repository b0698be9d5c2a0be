// Queries that only look rows up, sent often with other values: a router may prepare them once and send the values
// alone. Nothing of that may show, errors and their positions least of all.
import { ask, type Step, type WireCase } from '../script.ts'

/** The same query with each value in turn, twice through: the later ones meet what the earlier ones have prepared. */
const inTurn = (
  queryOf: (value: string) => string,
  answers: readonly (readonly [string, string])[],
): Step[] => [...answers, ...answers].map(([value, answer]) => ask(queryOf(value), answer))

const children = inTurn(
  (id) => `SELECT * FROM wire_children WHERE id = ${id}`,
  [
    ['1', 'TDCZ'],
    ['2', 'TCZ'],
  ],
)

/** Cases of repeated lookups. */
export const lookupCases: readonly WireCase[] = [
  {
    name: 'rows by an integer',
    steps: inTurn(
      (id) => `SELECT * FROM wire_items WHERE id = ${id}`,
      [
        ['1', 'TDCZ'],
        ['2', 'TDCZ'],
        ['99', 'TCZ'],
        ['-1', 'TCZ'],
        ['0003', 'TDCZ'],
        ['2147483647', 'TCZ'],
        ['2147483648', 'TCZ'],
        ['99999999999999999999', 'TCZ'],
        ['4', 'TDCZ'],
      ],
    ),
  },
  {
    name: 'rows by a text',
    steps: inTurn(
      (name) => `SELECT id FROM wire_items WHERE name = ${name}`,
      [
        ["'one'", 'TDCZ'],
        ["'drei ß €'", 'TDCZ'],
        ["''", 'TDCZ'],
        ["'it''s'", 'TCZ'],
        [String.raw`E'o\x6ee'`, 'TDCZ'],
        [String.raw`E't\167o'`, 'TDCZ'],
        ['$x$two$x$', 'TDCZ'],
        ["'five'", 'TDCZ'],
      ],
    ),
  },
  {
    name: 'rows by numbers of every kind',
    steps: inTurn(
      (price) => `SELECT id, price FROM wire_items WHERE price=${price} AND id = 1`,
      [
        ['1.5', 'TDCZ'],
        ['1.500', 'TDCZ'],
        ['15e-1', 'TDCZ'],
        ['2', 'TCZ'],
        ['.5', 'TCZ'],
        ['1.4999999999999999999999', 'TCZ'],
      ],
    ),
  },
  {
    name: 'values that the type of their column refuses',
    steps: inTurn(
      (id) => `SELECT name FROM wire_items WHERE id = ${id}`,
      [
        ["'1'", 'TDCZ'],
        ["'two'", 'EZ'],
        ["' 3 '", 'TDCZ'],
        ["'99999999999'", 'EZ'],
        ["''", 'EZ'],
        ["'4'", 'TDCZ'],
      ],
    ),
  },
  {
    name: 'dates and other values by their text',
    steps: inTurn(
      (made) => `SELECT id FROM wire_items WHERE made = ${made}`,
      [
        ["'infinity'", 'TDCZ'],
        ["'1999-12-31 23:59:59+00'", 'TDCZ'],
        ["'not a time'", 'EZ'],
        ["'2024-02-29 12:00:00.123456 UTC'", 'TDCZ'],
      ],
    ),
  },
  {
    name: 'what is compared with has no equality',
    steps: inTurn(
      (value) => `SELECT id FROM wire_items WHERE name = ${value}`,
      [
        ['1', 'EZ'],
        ['2.5', 'EZ'],
        ['3', 'EZ'],
        ['4', 'EZ'],
      ],
    ),
  },
  {
    name: 'an error of a row',
    steps: inTurn(
      (id) => `SELECT 10 / (id - 2) AS quotient FROM wire_items WHERE id = ${id}`,
      [
        ['1', 'TDCZ'],
        ['3', 'TDCZ'],
        ['2', 'TEZ'],
        ['5', 'TDCZ'],
      ],
    ),
  },
  {
    name: 'literals that are part of the statement',
    steps: inTurn(
      (value) =>
        `SELECT ${value}, name, count(*) FROM wire_items WHERE id = ${value} GROUP BY 2 ORDER BY 2 LIMIT ${value}`,
      [
        ['1', 'TDCZ'],
        ['2', 'TDCZ'],
        ['3', 'TDCZ'],
      ],
    ),
  },
  {
    name: 'through joins and subqueries',
    steps: inTurn(
      (id) =>
        `SELECT i.id, (SELECT count(*) FROM wire_children c WHERE c.item_id = ${id}) FROM wire_items i LEFT JOIN wire_children j ON j.item_id = i.id AND j.id = ${id} WHERE i.id = ${id}`,
      [
        ['1', 'TDCZ'],
        ['2', 'TDCZ'],
        ['7', 'TCZ'],
      ],
    ),
  },
  {
    name: 'the same plan is shown with its values',
    steps: inTurn(
      (id) => `EXPLAIN (COSTS OFF) SELECT name FROM wire_items WHERE id = ${id}`,
      [
        ['1', 'TD+CZ'],
        ['2', 'TD+CZ'],
        ['3', 'TD+CZ'],
      ],
    ),
  },
  {
    name: 'rows of another shape since a table has changed',
    steps: [
      ...children,
      ask('ALTER TABLE wire_children ALTER item_id TYPE bigint', 'CZ'),
      ...children,
      ask('ALTER TABLE wire_children ALTER item_id TYPE int', 'CZ'),
      ...children,
      ask('ALTER TABLE wire_children RENAME TO wire_gone', 'CZ'),
      ask('SELECT * FROM wire_children WHERE id = 1', 'EZ'),
      ask('ALTER TABLE wire_gone RENAME TO wire_children', 'CZ'),
      ...children,
    ],
  },
]
