// Looks at how a call failed.
import { FleetShardError } from '@fleetshard/client'

/** The error that a promise rejects with; anything else fails the test. */
export async function failureOf(call: PromiseLike<unknown>): Promise<FleetShardError> {
  try {
    await call
  } catch (error) {
    if (error instanceof FleetShardError) return error
    throw new Error('the call failed with another error than the client has', { cause: error })
  }
  throw new Error('the call did not fail')
}
