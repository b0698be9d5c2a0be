// The keys that a client of SCRAM makes from a password: thousands of rounds of hashing, so those of the last logins are
// kept (RFC 5802, section 5.1, lets clients do so). A pool logs in to one server with one password again and again.
import { createHash, createHmac, pbkdf2 } from 'node:crypto'
import { promisify } from 'node:util'
import { preparePassword } from './password.ts'

/** What the client's proof, and its check of the server's, are made with. */
export interface ClientKeys {
  readonly clientKey: Buffer
  readonly serverKey: Buffer
}

/** Users of all servers whose keys are kept. */
const keptMax = 1_000

const derive = promisify(pbkdf2)

/** Keys by a hash of what they were made from, those used last at the end. */
const kept = new Map<string, Promise<ClientKeys>>()

/** ClientKey and ServerKey of RFC 5802, section 3. */
export function scramKeys(password: string, salt: Buffer, iterations: number): Promise<ClientKeys> {
  const prepared = preparePassword(password)
  const from = `${String(iterations)},${salt.toString('base64')},${prepared}`
  const id = createHash('sha256').update(from).digest('base64')
  const keys = kept.get(id) ?? made(prepared, salt, iterations)
  kept.delete(id)
  kept.set(id, keys)
  const [oldest] = kept.keys()
  if (kept.size > keptMax && oldest !== undefined) kept.delete(oldest)
  return keys
}

async function made(prepared: string, salt: Buffer, iterations: number): Promise<ClientKeys> {
  const salted = await derive(prepared, salt, iterations, 32, 'sha256')
  const key = (name: string): Buffer => createHmac('sha256', salted).update(name).digest()
  return { clientKey: key('Client Key'), serverKey: key('Server Key') }
}
