// How a password is prepared and hashed before it travels: md5 of old servers, and the string preparation that
// SCRAM asks for, as Postgres does it.
import { createHash } from 'node:crypto'

/** The answer to AuthenticationMD5Password: `md5` + md5(md5(password + user) + salt). */
export function md5Password(user: string, password: string, salt: Uint8Array): string {
  const inner = createHash('md5')
    .update(password + user, 'utf8')
    .digest('hex')
  return `md5${createHash('md5').update(inner, 'latin1').update(salt).digest('hex')}`
}

// RFC 4013 over Unicode 3.2: non-ASCII spaces become a space, these vanish, and those make the text unfit (control
// and private characters, direction marks, and what Unicode 3.2 did not have: the planes of the emoji).
const spaces = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/gu
const vanishing = /\u00ad|\u034f|\u1806|[\u180b-\u180d]|\u200c|\u200d|\u2060|[\ufe00-\ufe0f]|\ufeff/gu
const unfit =
  // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
  /[\0-\u001f\u007f-\u009f\u06dd\u070f\u180e\u200e\u200f\u2028-\u202e\u2061-\u2063\u206a-\u206f\ufff9-\uffff\p{Co}\p{Cs}\p{Cn}\u{1f000}-\u{1ffff}]/u
const ascii = /^[\x20-\x7e]*$/

/**
 * SASLprep of a password. Like Postgres, a text that may not be prepared (control characters, surrogates, nothing
 * left) is used as it is, so that any password that could be set can also be sent.
 */
export function preparePassword(password: string): string {
  if (ascii.test(password)) return password
  const prepared = password.replace(spaces, ' ').replace(vanishing, '').normalize('NFKC')
  return prepared === '' || unfit.test(prepared) ? password : prepared
}
