// `npm run fuzz -- record`: runs the wire cases against the embedded Postgres and an installed one, and writes what
// was said into the corpus. To be run when cases are added.
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { startDirect } from '../wire/direct.ts'
import { runCase } from '../wire/run.ts'
import { wireCases } from '../wire/cases/mod.ts'
import { corpusFolder, cut, type Recording } from './corpus.ts'

/** Longer sessions say nothing new. */
const sessionBytesMax = 6_000
/** Sessions kept with their login: it is always the same. */
const loginsKept = 3
const installed = '/usr/lib/postgresql/15/bin'

/** Records all servers that are there. */
export async function record(print: (line: string) => void): Promise<void> {
  await recordServer(null, print)
  if (existsSync(installed)) await recordServer(installed, print)
}

interface Taped {
  readonly name: string
  readonly fromClient: Buffer[]
  readonly fromServer: Buffer[]
}

async function recordServer(pgBin: string | null, print: (line: string) => void): Promise<void> {
  await using direct = await startDirect(pgBin)
  const taped: Taped[] = []
  for (const [chapter, cases] of Object.entries(wireCases)) {
    for (const wireCase of cases) {
      await direct.reset()
      await runCase(direct.target, wireCase, {
        isRunning: direct.isRunning,
        tap() {
          const tape: Taped = { name: `${chapter}: ${wireCase.name}`, fromClient: [], fromServer: [] }
          taped.push(tape)
          return {
            client: (bytes) => void tape.fromClient.push(bytes),
            server: (bytes) => void tape.fromServer.push(bytes),
          }
        },
      })
    }
  }
  const recording: Recording = {
    server: `PostgreSQL ${direct.version}`,
    sessions: taped.flatMap((tape, index) => sessionOf(tape, index < loginsKept)),
  }
  const file = new URL(`postgres-${String(Number.parseInt(direct.version))}.json`, corpusFolder)
  await writeFile(file, `${JSON.stringify(recording, null, 2)}\n`)
  print(`${String(recording.sessions.length)} sessions of PostgreSQL ${direct.version}`)
}

function sessionOf(tape: Taped, login: boolean): Recording['sessions'] {
  const client = cut(Buffer.concat(tape.fromClient), true)
  const server = cut(Buffer.concat(tape.fromServer), false)
  const afterLogin = {
    client: client.findIndex((message, index) => index > 0 && message[0] !== 'p'.charCodeAt(0)),
    server: server.findIndex((message) => message[0] === 'Z'.charCodeAt(0)) + 1,
  }
  const fromClient = Buffer.concat(login ? client : client.slice(afterLogin.client))
  const fromServer = Buffer.concat(login ? server : server.slice(afterLogin.server))
  if (afterLogin.client === -1 || fromClient.length + fromServer.length > sessionBytesMax) return []
  return [
    {
      name: tape.name,
      login,
      fromClient: fromClient.toString('base64'),
      fromServer: fromServer.toString('base64'),
    },
  ]
}
