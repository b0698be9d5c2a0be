// RFC 9457 problem details as a schema: the body of every HTTP error of every role.
import { Type, type Static } from 'typebox'

/** Body of an error, content type application/problem+json. Further facts of the error stand beside these. */
export const ProblemBody = Type.Object(
  {
    code: Type.String({ description: 'stable code of the error catalogue' }),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String({ description: 'what happened and why' }),
    retryable: Type.Boolean({ description: 'the same request may succeed later' }),
    hint: Type.String({ description: 'what to do next' }),
    sqlstate: Type.String(),
    trace_id: Type.String(),
  },
  { additionalProperties: true, description: 'RFC 9457 problem details' },
)

/** Body of an HTTP error as the contract has it; core's `Problem` is the same with the code's type. */
export type ProblemBody = Static<typeof ProblemBody>
