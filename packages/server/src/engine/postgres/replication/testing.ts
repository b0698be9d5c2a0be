// For the tests of this folder and of pgoutput: one session that makes every kind of message, and its raw bytes.
import type { Client } from 'pg'
import { FleetError } from '@fleetshard/core'
import { backendCode, messageHeaderBytes, writeQuery } from '@fleetshard/routing/pgwire'
import { exec } from '@fleetshard/routing/wire'
import { systemClock } from '../../../runtime/mod.ts'
import type { NodeTarget } from '../../shard-engine.ts'
import { connectReplication } from './stream.ts'

/** The slot and publication of the session. */
export const sessionName = 'fleetshard_session'

/** Statements of the session, in order; each runs by itself. */
const sessionSql: readonly string[] = [
  `create type mood as enum ('glad', 'sad')`,
  `create table item (id int primary key, name text not null, note text, mood mood, body text)`,
  `create table whole (a int, b text)`,
  `alter table item alter body set storage external`,
  `alter table whole replica identity full`,
]

const changesSql: readonly string[] = [
  // Plain changes, NULL, an enum, a value that is TOASTed and left as it is, a key that changes.
  `insert into item values (1, 'one', null, 'glad', repeat('x', 2100))`,
  `update item set name = 'uno' where id = 1`,
  `update item set id = 2 where id = 1`,
  `delete from item where id = 2`,
  `insert into whole values (1, 'é')`,
  `update whole set b = 'f' where a = 1`,
  `delete from whole`,
  // A message outside of a transaction is sent at once; one inside with its transaction.
  `select pg_logical_emit_message(true, 'fleetshard', 'inside')`,
  `truncate item, whole restart identity cascade`,
  // Rolled back to a savepoint: only the rest comes.
  `do $$ begin insert into item (id, name) values (10, 'stays');
     begin insert into item (id, name) values (11, 'goes'); raise exception 'x'; exception when others then null; end;
   end $$`,
  // Large enough to be streamed, with a part that is rolled back.
  `do $$ begin insert into item (id, name) select i, repeat('y', 4) from generate_series(100, 620) i;
     begin insert into item (id, name) select i, repeat('z', 4) from generate_series(2000, 2520) i;
       raise exception 'x'; exception when others then null; end;
   end $$`,
  `begin; insert into item (id, name) values (5000, 'prepared'); prepare transaction 'gid-1'`,
  `commit prepared 'gid-1'`,
  `begin; insert into item (id, name) values (5001, 'not'); prepare transaction 'gid-2'`,
  `rollback prepared 'gid-2'`,
  `alter table item add column extra int default 7`,
  `insert into item (id, name) values (6000, 'wider')`,
  `select pg_logical_emit_message(true, 'fleetshard', 'end')`,
]

/** Raw messages of pgoutput, from one session, until its end. */
export async function recordSession(
  target: NodeTarget,
  client: Client,
  protocol: 1 | 2 | 3 | 4,
): Promise<readonly Buffer[]> {
  for (const sql of sessionSql) await client.query(sql)
  await client.query(`create publication ${sessionName} for table item, whole`)
  const stop = new AbortController()
  const connection = await connectReplication(target, systemClock, stop.signal)
  const twoPhase = protocol >= 3
  const options = twoPhase ? ' TWO_PHASE' : ''
  try {
    await exec(
      connection,
      `CREATE_REPLICATION_SLOT ${sessionName} LOGICAL pgoutput NOEXPORT_SNAPSHOT${options}`,
    )
    for (const sql of changesSql) await client.query(sql)
    const settings = [
      `proto_version '${String(protocol)}', publication_names '${sessionName}', messages 'true'`,
      ...(protocol >= 2 ? [`streaming '${protocol === 4 ? 'parallel' : 'on'}'`] : []),
      ...(twoPhase ? [`two_phase 'on'`] : []),
    ].join(', ')
    return await rawUntilEnd(connection, `START_REPLICATION SLOT ${sessionName} LOGICAL 0/0 (${settings})`)
  } finally {
    connection.destroy(new FleetError('canceled', 'the session is over'))
  }
}

function rawUntilEnd(
  connection: Awaited<ReturnType<typeof connectReplication>>,
  command: string,
): Promise<readonly Buffer[]> {
  const messages: Buffer[] = []
  let sawEnd = false
  return new Promise((resolve, reject) => {
    const sink = {
      message(type: number, buf: Buffer, start: number, end: number): void {
        if (type === backendCode.errorResponse) reject(new Error(buf.toString('latin1', start, end)))
        const body = start + messageHeaderBytes
        if (type !== backendCode.copyData || buf[body] !== 0x77) return
        const bytes = Buffer.from(buf.subarray(body + 25, end))
        messages.push(bytes)
        sawEnd ||= bytes[0] === 0x4d && bytes.includes('end')
        if (sawEnd && bytes[0] === 0x43) resolve(messages)
      },
      done: () => undefined,
      failed: reject,
    }
    connection.submitWith((out) => {
      writeQuery(out, command)
    }, sink)
  })
}
