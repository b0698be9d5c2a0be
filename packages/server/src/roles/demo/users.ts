// The users of the demo, made up.
import type { DataSet, Row } from './data-set.ts'

/** How many there are unless asked otherwise. */
export const userCountDefault = 20_000

const ddl = `CREATE TABLE users (
    id          BIGSERIAL PRIMARY KEY,
    user_id     VARCHAR(255) NOT NULL,
    name        VARCHAR(255) NOT NULL,
    email       VARCHAR(255) NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX ux_users_user_id ON users (user_id);
`

/** The users table, sharded by user_id. */
export function makeUsers(count: number): DataSet {
  const rows = Array.from({ length: count }, (_, index): Row => {
    const number = String(index + 1)
    return [`user-${number}`, `User ${number}`, `user${number}@example.com`]
  })
  return { table: 'users', columns: ['user_id', 'name', 'email'], keyType: 'text', ddl, rows }
}
