// FunctionCall: what the drivers of C and Java read and write large objects with. The router knows a function by its
// number only, so that the call is taken for what may do anything, as DO is: it is passed on where there is one shard.
import { FleetError } from '@fleetshard/core'
import { messageHeaderBytes } from '@fleetshard/routing/pgwire'
import { noTarget, refuseUnprotected } from '@fleetshard/routing/plan'
import type { AnswerStep } from './answer.ts'
import { unseenStatement } from './prepare.ts'
import type { SessionState } from './session-state.ts'
import type { Work } from './work.ts'

const noSteps: readonly AnswerStep[] = []

/**
 * The call as work for a server, whose answer is the client's as it is.
 * @param message of the client, which is kept
 * @throws FleetError `statement_refused` with several shards, and as `refuseUnprotected`; `rate_limited`
 */
export async function functionCallWork(state: SessionState, message: Buffer): Promise<Work> {
  if (state.map.owners.length > 1) {
    throw new FleetError('statement_refused', 'the function call protocol in a keyspace of several shards', {
      hint: 'call the function by a SELECT',
    })
  }
  refuseUnprotected(message.toString('latin1', messageHeaderBytes), state.map)
  state.start.spend?.(1)
  const known = await unseenStatement(state, '')
  const use = { known, text: '', literals: null, hint: noTarget, bind: null, types: [], wire: null }
  return {
    uses: [use],
    executed: [use],
    isPlain: false,
    isFresh: () => true,
    fingerprint: '',
    group: () => ({
      wantsTags: false,
      encode: (out) => {
        out.raw(message)
        return noSteps
      },
    }),
  }
}
