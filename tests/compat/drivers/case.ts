// What every driver is put through: one list of cases, written once a driver, against a connection string. Each case
// works on rows of a tenant of its own, so that its statements lie on one shard wherever the table is sharded.
import assert from 'node:assert/strict'

/** The cases. A driver that has no way to do one leaves it out. */
export const caseNames = [
  'reads and writes rows',
  'commits',
  'rolls back',
  'rolls back to a savepoint',
  'uses prepared statements again',
  'arrays',
  'json and jsonb',
  'bytea',
  'dates and timestamps',
  'numeric and int8',
  'a result of 100,000 rows',
  'rows in parts',
  'copy in',
  'copy out',
  'errors with their fields',
  'asks the catalog',
  'cancels',
] as const
/** One of them. */
export type CaseName = (typeof caseNames)[number]

/** Where a case works. */
export interface Place {
  readonly url: string
  /** Its own, without rows. */
  readonly tenant: string
}

/** One case; it throws when something is not as it must be. */
export type Case = (place: Place) => Promise<void>

/** A driver and its cases. */
export interface Driver {
  readonly name: string
  readonly cases: Readonly<Partial<Record<CaseName, Case>>>
  /** Why it can't be used on this machine; null when it can. */
  readonly missing: string | null
}

/** Tables that the cases use; both are keyed by `tenant`. */
export const driverSchema = `
CREATE TABLE compat_values (
  tenant text NOT NULL,
  id int NOT NULL,
  name text,
  large int8,
  price numeric(20, 4) CHECK (price >= 0),
  ratio float8,
  flag boolean,
  payload bytea,
  doc jsonb,
  raw json,
  tags text[],
  numbers int[],
  day date,
  made timestamptz,
  plain timestamp,
  uid uuid,
  PRIMARY KEY (tenant, id)
);
CREATE TABLE compat_big (tenant text NOT NULL, n int NOT NULL, body text NOT NULL, PRIMARY KEY (tenant, n));
`

/** The tenant that has rows in `compat_big`, and how many. */
export const bigTenant = 'big'
export const bigRows = 100_000
/** Sum of their `n`. */
export const bigSum = (bigRows * (bigRows + 1)) / 2
/** Fills the table of big results; sent to the server that owns the tenant. */
export const bigInsert = `INSERT INTO compat_big SELECT '${bigTenant}', n, 'row ' || n FROM generate_series(1, ${String(bigRows)}) n`

/** Calls `cancel` until the statement ends, and returns its error: a cancel that comes too early does nothing. */
export async function cancelled(statement: Promise<unknown>, cancel: () => unknown): Promise<unknown> {
  const outcome = statement.then(
    () => assert.fail('the statement was not cancelled'),
    (error: unknown) => error,
  )
  const again = setInterval(() => void cancel(), 200)
  try {
    return await outcome
  } finally {
    clearInterval(again)
  }
}

/** The values that all drivers write and read back. */
export const sample = {
  name: 'Ünï “quoted” \\ \' " 🐘',
  large: '9007199254740993',
  price: '12345678901234.5600',
  ratio: 0.1,
  payload: Buffer.from([0, 1, 92, 39, 127, 128, 255]),
  doc: { list: [1, 2.5, null, true], text: 'ü "q"', nested: { a: {} } },
  tags: ['a', 'b c', 'd,e', '"f"', '\\g', '', 'NULL'],
  numbers: [1, -2, 2_147_483_647],
  day: '2024-02-29',
  made: new Date('2024-02-29T12:34:56.789Z'),
  uid: 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
} as const
