// Sessions that do to themselves what must not reach others: settings, statements and portals by common names,
// temporary tables, failed transactions. They run beside a case and share the router's connections with it.
import { RawConnection, type Target } from './connection.ts'
import { bind, execute, extended, parse, query, sync } from './script.ts'

/** Rounds of messages; each ends with ReadyForQuery as often as it says. */
const habits: readonly (readonly [Buffer, number])[] = [
  [query("SET work_mem = '3MB'; SET application_name = 'neighbour'"), 1],
  [Buffer.concat([parse('s1', 'SELECT 99 AS neighbour'), bind({ statement: 's1' }), execute(), sync]), 1],
  [
    Buffer.concat([parse('q', 'SELECT 98'), bind({ portal: 'p1', statement: 'q' }), execute('p1', 1), sync]),
    1,
  ],
  [query('SET search_path = pg_catalog'), 1],
  [query('BEGIN; SELECT 1; SAVEPOINT a'), 1],
  [query('SELECT 1/0'), 1],
  [query('ROLLBACK'), 1],
  [extended('SELECT $1::int', ['5']), 1],
  [query("SET TimeZone = 'America/Caracas'; SET DateStyle = 'SQL, DMY'"), 1],
  [query('BEGIN; CREATE TEMPORARY TABLE wire_temp (n int) ON COMMIT DROP; COMMIT'), 1],
  [query('PREPARE shared AS SELECT 97'), 1],
  [query('DISCARD ALL'), 1],
]

/** How many there are. */
const neighboursDefault = 4

/** Opens them and keeps them busy until it is disposed. */
export async function startNeighbours(
  target: Target,
  count = neighboursDefault,
): Promise<AsyncDisposable & { readonly rounds: () => number }> {
  let running = true
  let rounds = 0
  const opened = await Promise.all(Array.from({ length: count }, () => RawConnection.open(target)))
  const loops = opened.map(async ({ connection }, index) => {
    for (let at = index; running; at += 1) {
      const [bytes, ready] = habits[at % habits.length] ?? [sync, 1]
      connection.send(bytes)
      await connection.read((received) => received.filter(({ letter }) => letter === 'Z').length >= ready)
      rounds += 1
    }
  })
  return {
    rounds: () => rounds,
    async [Symbol.asyncDispose]() {
      running = false
      await Promise.all(loops)
      await Promise.all(opened.map(({ connection }) => connection[Symbol.asyncDispose]()))
    },
  }
}
