// What may be parsed at all; whoever takes texts from clients checks them by this first.
import { FleetError } from '@fleetshard/core'

/** @throws FleetError `request_too_large`, `invalid_request` */
export function checkStatementText(text: string, charactersMax: number): void {
  if (text.length > charactersMax) {
    throw new FleetError(
      'request_too_large',
      `the query text is longer than ${String(charactersMax)} characters`,
      { hint: 'send the values as params, or several smaller statements' },
    )
  }
  if (text.includes('\0') || !text.isWellFormed()) {
    throw new FleetError('invalid_request', 'the query holds a NUL character or half of a surrogate pair', {
      hint: 'send text, and bytes as a parameter of type bytea',
    })
  }
}
