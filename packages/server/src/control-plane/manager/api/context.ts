// What the endpoints share, and how a change gets from a request to its work.
import { Type } from 'typebox'
import type { KeyspaceName } from '@fleetshard/core'
import type { Answer, Call, Streams } from '../../../runtime/http/mod.ts'
import type { AuditLog } from '../../../audit/mod.ts'
import type { Change, ChangeName, Changes } from '../changes.ts'
import { epochHeader } from '../forward.ts'
import type { Leader } from '../leader.ts'
import type { Parts, Work } from '../parts.ts'
import type { SignIn } from '../sign-in.ts'

/** What every endpoint may use. */
export interface Api {
  readonly parts: Parts
  readonly changes: Changes
  readonly audit: AuditLog
  /** Null where nobody signs in with a browser. */
  readonly signIn: SignIn | null
  readonly streams: Streams
  readonly leader: Leader
  readonly id: string
  readonly version: string
  /** Beyond this age of the live copy the catalog counts as gone. */
  readonly catalogAgeMsMax: number
  /** False from the moment on that the manager is asked to stop. */
  readonly isTakingWork: () => boolean
}

/** Keyspace of a request that names none. */
export const keyspaceDefault = 'default'

/** `{id}` of a path. Any text: what does not exist is `not_found`. */
export const idParams = Type.Object({ id: Type.String() })
/** `{keyspace}` of a path. */
export const keyspaceParams = Type.Object({ keyspace: Type.String() })

/** Makes a change on a keyspace's engine as the leader. */
export function change<T>(
  api: Api,
  name: ChangeName,
  call: Call,
  work: (work: Work) => Promise<T>,
): Promise<T> {
  return api.changes.run(name, call, async (made: Change) =>
    work({ parts: api.parts, engine: api.parts.engine('postgres'), change: made, signal: made.signal }),
  )
}

/** Waits until reads show the keyspace at that epoch or a later one. */
export function shownAt({ parts }: Pick<Api, 'parts'>, keyspace: string, epoch: number): Promise<boolean> {
  return parts.fleet.shown(({ keyspaces }) => (keyspaces.get(keyspace as KeyspaceName)?.epoch ?? -1) >= epoch)
}

/** The answer with the epoch that it made, for a manager that passes it on. */
export function withEpoch(answer: Answer, keyspace: string, epoch: number): Answer {
  if (answer.kind === 'hijacked') return answer
  return { ...answer, headers: { ...answer.headers, [epochHeader]: `${keyspace}=${String(epoch)}` } }
}
