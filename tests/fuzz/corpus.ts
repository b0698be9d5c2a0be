// Recorded sessions: what clients and real servers said to each other, cut into messages.
import { readdirSync, readFileSync } from 'node:fs'
import { messageHeaderBytes, startupHeaderBytes } from '@fleetshard/routing/pgwire'
import { Type, type Static } from 'typebox'
import { Value } from 'typebox/value'

const RecordingSchema = Type.Object({
  /** Version of the server. */
  server: Type.String(),
  sessions: Type.Array(
    Type.Object({
      name: Type.String(),
      /** True when it holds the login: the first message of the client has no type byte then. */
      login: Type.Boolean(),
      /** Base64. */
      fromClient: Type.String(),
      fromServer: Type.String(),
    }),
  ),
})

/** One file of the corpus. */
export type Recording = Static<typeof RecordingSchema>

/** One session, each direction as whole messages. */
export interface Session {
  readonly name: string
  readonly login: boolean
  readonly fromClient: readonly Buffer[]
  readonly fromServer: readonly Buffer[]
}

/** Where recordings lie. */
export const corpusFolder = new URL('corpus/', import.meta.url)

/** All recorded sessions. */
export function loadCorpus(): readonly Session[] {
  return readdirSync(corpusFolder)
    .filter((name) => name.endsWith('.json'))
    .toSorted()
    .flatMap((name) => sessionsOf(JSON.parse(readFileSync(new URL(name, corpusFolder), 'utf8'))))
}

function sessionsOf(json: unknown): Session[] {
  const recording = Value.Parse(RecordingSchema, json)
  return recording.sessions.map(({ name, login, fromClient, fromServer }) => ({
    name: `${recording.server}: ${name}`,
    login,
    fromClient: cut(Buffer.from(fromClient, 'base64'), login),
    fromServer: cut(Buffer.from(fromServer, 'base64'), false),
  }))
}

/** Cuts a stream of whole messages; `startup`: the first one has no type byte. */
export function cut(stream: Buffer, startup: boolean): Buffer[] {
  const messages: Buffer[] = []
  for (let at = 0; at < stream.length;) {
    const header = startup && at === 0 ? startupHeaderBytes : messageHeaderBytes
    const end = at + header - 4 + stream.readUInt32BE(at + header - 4)
    if (end > stream.length) throw new Error('a recording ends within a message')
    messages.push(stream.subarray(at, end))
    at = end
  }
  return messages
}
