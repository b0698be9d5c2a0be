// Writes as text with numbers in them, sent often enough that a router may prepare them: whatever it does, the answer
// is that to the text, to the places that its errors point to.
import { ask, type WireCase } from '../script.ts'

/** The same, with one number after another. */
const often = (text: (n: number) => string, answer: string, from = 1): ReturnType<typeof ask>[] =>
  Array.from({ length: 4 }, (_, index) => ask(text(from + index), answer))

/** Each within a transaction of its own, which it fails. */
const oftenFailing = (text: string): ReturnType<typeof ask>[] =>
  Array.from({ length: 4 }, () => [ask('BEGIN', 'CZ'), ask(text, 'EZ'), ask('ROLLBACK', 'CZ')]).flat()

const child = (id: number, item = 1): string =>
  `INSERT INTO wire_children (id, item_id) VALUES (${String(id)}, ${String(item)})`

/** Cases of writes. */
export const writeCases: readonly WireCase[] = [
  {
    name: 'insert, update and delete',
    steps: [
      ...often((n) => child(100 + n), 'CZ'),
      ...often(
        (n) => `UPDATE wire_children SET item_id = item_id + ${String(n)} - ${String(n)} WHERE id = 101`,
        'CZ',
      ),
      ...often(
        (n) => `UPDATE wire_items SET price = price + -${String(n)} * - 2 WHERE id IN (1, ${String(n)}, 77)`,
        'CZ',
      ),
      ask('SELECT id, price FROM wire_items ORDER BY id', 'TD+CZ'),
      ...often(
        (n) => `DELETE FROM wire_children WHERE id = ${String(n)} OR id > 102 AND NOT id = 0104`,
        'CZ',
        101,
      ),
      ask('SELECT * FROM wire_children ORDER BY id', 'TD+CZ'),
    ],
  },
  {
    name: 'within transactions',
    steps: [
      ask('BEGIN', 'CZ'),
      ...often((n) => child(200 + n), 'CZ'),
      ask('SAVEPOINT a', 'CZ'),
      ask(child(201), 'EZ'),
      ask(child(209), 'EZ'),
      ask('ROLLBACK TO a', 'CZ'),
      ask(child(209), 'CZ'),
      ask('COMMIT', 'CZ'),
      ask('SELECT count(*) FROM wire_children', 'TDCZ'),
    ],
  },
  {
    name: 'values that do not fit',
    steps: [
      ...often((n) => child(300 + n), 'CZ'),
      ask(child(1), 'EZ'),
      ask(child(399, 999), 'EZ'),
      ask(child(99999999999), 'EZ'),
      ask(child(2147483648), 'EZ'),
      ask('INSERT INTO wire_children (id, item_id) VALUES (-2147483648, 1)', 'CZ'),
      ask('INSERT INTO wire_children (id, item_id) VALUES (1.5, 1)', 'CZ'),
      ask("INSERT INTO wire_children (id, item_id) VALUES ('5', 1)", 'CZ'),
      ask("INSERT INTO wire_children (id, item_id) VALUES ('a', 1)", 'EZ'),
      ...often((n) => `UPDATE wire_items SET price = ${String(n)} / (id - ${String(n)})`, 'EZ'),
      ...often((n) => `UPDATE wire_items SET price = ${String(n - 5)} WHERE id = 1`, 'EZ'),
      ...often((n) => `INSERT INTO wire_children VALUES (${String(n + 400)})`, 'EZ'),
    ],
  },
  {
    name: 'what is computed of numbers alone',
    steps: [
      ...Array.from({ length: 8 }, () =>
        ask('UPDATE wire_items SET price = 1 WHERE id = 7 / 0 AND name IS NULL', 'EZ'),
      ),
      ...Array.from({ length: 8 }, () => ask('DELETE FROM wire_items WHERE id = 2147483647 + 1', 'EZ')),
      ...Array.from({ length: 8 }, () =>
        ask('UPDATE wire_items SET price = 1 / (id - id) WHERE id = 99', 'CZ'),
      ),
      ...Array.from({ length: 8 }, () => ask('INSERT INTO wire_children VALUES (1, 1), (2, 1 / 0)', 'EZ')),
    ],
  },
  {
    name: 'places in texts that are wrong',
    steps: [
      ...oftenFailing('UPDATE wire_items SET id = 5, nope = 7 WHERE id = 1'),
      ...oftenFailing(
        '/* é € 😀 */ UPDATE wire_items -- 1\n  SET price = 12 + /* 3 */ nope WHERE id = 123456;  ',
      ),
      ...oftenFailing('UPDATE wire_items SET tags = 5 WHERE id = 1'),
      ...oftenFailing('UPDATE wire_items SET price = 3 WHERE id = 1 AND tags'),
      ...oftenFailing('UPDATE wire_items SET price = 3 WHERE doc = 17'),
      ...oftenFailing('UPDATE wire_items SET price = 3 WHERE "nö" = 17 AND id = 18'),
      ...oftenFailing('DELETE FROM wire_items WHERE wire_none(1, 2) = 3'),
      ...oftenFailing('INSERT INTO wire_children VALUES (1, 2, 3)'),
      ...oftenFailing('INSERT INTO wire_children (id, nope) VALUES (1, 2)'),
      ...oftenFailing('DELETE FROM wire_nothing WHERE id = 1'),
      ...oftenFailing('DELETE FROM wire_items WHERE made = -1'),
      ...oftenFailing('UPDATE wire_items SET made = CURRENT_TIMESTAMP(3) WHERE wire_none(id) = 5'),
    ],
  },
  {
    name: 'numbers that are more than values',
    steps: [
      ...often((n) => `UPDATE wire_items SET made = CURRENT_TIMESTAMP(3) WHERE id = -${String(n)}`, 'CZ'),
      ...often((n) => `UPDATE wire_items SET price = ${String(n)}::numeric(5, 2) WHERE id = 1`, 'CZ'),
      ...often(
        (n) => `UPDATE wire_items SET made = made + interval '${String(n)}' day(0) WHERE id = 1`,
        'EZ',
      ),
      ...often((n) => `UPDATE wire_items SET tags[${String(n)}] = 'x' WHERE id = 1`, 'CZ'),
      ...often(
        (n) => `UPDATE wire_items SET name = substring(name from ${String(n)} for 2) WHERE id = 5`,
        'CZ',
      ),
      ...often((n) => `INSERT INTO wire_children VALUES (${String(n)}, 1) ON CONFLICT (id) DO NOTHING`, 'CZ'),
      ...often(
        (n) => `UPDATE wire_children SET item_id = 1 WHERE id = ${String(n)} RETURNING id, ${String(n)}`,
        'TD*CZ',
      ),
      ...often(
        (n) =>
          `WITH w AS (SELECT ${String(n)} AS id) DELETE FROM wire_children USING w WHERE wire_children.id = w.id`,
        'CZ',
      ),
      ask('SELECT tags, name, price FROM wire_items ORDER BY id', 'TD+CZ'),
    ],
  },
  {
    name: 'several rows, defaults and nulls',
    steps: [
      ...often(
        (n) => `INSERT INTO wire_children VALUES (${String(n)}0, 1), (${String(n)}1, 2), (-${String(n)}, 3)`,
        'CZ',
      ),
      ...often(
        (n) => `INSERT INTO wire_items (id, name, price) VALUES (${String(n + 50)}, DEFAULT, NULL)`,
        'EZ',
      ),
      ...often(
        (n) =>
          `INSERT INTO wire_items (id, name, price) VALUES (${String(n + 50)}, wire_notice(id), ${String(n)})`,
        'EZ',
      ),
      ask('SELECT * FROM wire_children ORDER BY id', 'TD+CZ'),
    ],
  },
  {
    name: 'rules that give rows, and that do something else',
    steps: [
      ...often((n) => `INSERT INTO wire_ruled VALUES (${String(n)})`, 'TDCZ'),
      ...often((n) => `UPDATE wire_ruled SET id = ${String(n)} WHERE id = 1`, 'CZ'),
      ask('SELECT * FROM wire_children ORDER BY id', 'TD+CZ'),
    ],
  },
  {
    name: 'a table that changes in between',
    steps: [
      ...often((n) => child(500 + n), 'CZ'),
      ask('ALTER TABLE wire_children ALTER item_id TYPE bigint', 'CZ'),
      ask(child(505), 'CZ'),
      ask('ALTER TABLE wire_children RENAME item_id TO item', 'CZ'),
      ask(child(506), 'EZ'),
      ask('ALTER TABLE wire_children RENAME item TO item_id', 'CZ'),
      ask(child(507), 'CZ'),
      ask('ALTER TABLE wire_children ALTER item_id TYPE int', 'CZ'),
      ask(child(508), 'CZ'),
    ],
  },
]
