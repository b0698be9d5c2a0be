// The token of a session on the wire: what it has written, and where, so that its reads, here or over HTTP or by another
// router, see it.
import { askPrimary, tokenAfter } from '@fleetshard/routing/execute'
import type { Held } from './server-side.ts'
import type { SessionState } from './session-state.ts'
import { lastingly, type Variables } from './variables.ts'

/** True when the client wants a token, and what was committed on the connection is not in it. */
export const isUntold = ({ variables }: SessionState, held: Held): boolean =>
  held.hasWritten && variables.sessionToken !== null

/** Asks where the log of the primary ends. A position that is not told leaves the session's reads to the primary. */
export async function tellWritten(state: SessionState, held: Held): Promise<void> {
  held.hasWritten = false
  const position = await askPrimary(held.session)
  const after = (variables: Variables): Variables =>
    variables.sessionToken === null
      ? variables
      : { ...variables, sessionToken: tokenAfter(variables.sessionToken, held.shard, position) }
  const { current, lasting } = state.own
  state.own =
    current === lasting ? lastingly(after(current)) : { current: after(current), lasting: after(lasting) }
}
