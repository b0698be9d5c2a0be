// Generated passwords of a group: made once, kept in files of mode 0600 that only the agent's user can read. They
// reach Postgres as SCRAM verifiers, so that no statement and no log of it ever holds a password.
import { createHash, createHmac, pbkdf2, randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { readTextIfAny, writeFileAtomic } from './files.ts'
import { applicationRole, superuserRole } from './model.ts'

const derive = promisify(pbkdf2)
/** What Postgres itself uses, and the least that RFC 7677 allows. */
const scramIterations = 4096
const passwordBytes = 24

/** Passwords of one group. */
export interface GroupSecrets {
  readonly superuser: string
  readonly application: string
}

const fileOf = (secretsDir: string, group: string, role: string): string =>
  join(secretsDir, `${group}.${role}.password`)

/** File that holds the password of the application's role alone; what a `file:` secretRef points at. */
export const applicationSecretFile = (secretsDir: string, group: string): string =>
  fileOf(secretsDir, group, applicationRole)

/** Reads the passwords of the group, making those that are not there yet. */
export async function loadOrMakeSecrets(secretsDir: string, group: string): Promise<GroupSecrets> {
  await mkdir(secretsDir, { recursive: true, mode: 0o700 })
  return {
    superuser: await loadOrMake(fileOf(secretsDir, group, superuserRole)),
    application: await loadOrMake(fileOf(secretsDir, group, applicationRole)),
  }
}

/** Keeps the passwords of a group whose first server is elsewhere. */
export async function adoptSecrets(secretsDir: string, group: string, secrets: GroupSecrets): Promise<void> {
  await mkdir(secretsDir, { recursive: true, mode: 0o700 })
  const access = { mode: 0o600 }
  await writeFileAtomic(fileOf(secretsDir, group, superuserRole), secrets.superuser, access)
  await writeFileAtomic(fileOf(secretsDir, group, applicationRole), secrets.application, access)
}

/** A secret in a file of mode 0600: read, or made and written. */
export async function loadOrMake(path: string): Promise<string> {
  const found = await readTextIfAny(path)
  if (found !== null && found.trim() !== '') return found.trim()
  const made = randomBytes(passwordBytes).toString('base64url')
  await writeFileAtomic(path, made, { mode: 0o600 })
  return made
}

/** Forgets a group that has no server left. */
export async function removeSecrets(secretsDir: string, group: string): Promise<void> {
  await rm(fileOf(secretsDir, group, superuserRole), { force: true })
  await rm(fileOf(secretsDir, group, applicationRole), { force: true })
}

/** The verifier that Postgres stores (RFC 5803), accepted by `CREATE ROLE … PASSWORD` in place of the password. */
export async function scramVerifier(password: string, salt = randomBytes(16)): Promise<string> {
  const salted = await derive(password, salt, scramIterations, 32, 'sha256')
  const keyed = (text: string): Buffer => createHmac('sha256', salted).update(text).digest()
  const storedKey = createHash('sha256').update(keyed('Client Key')).digest('base64')
  const serverKey = keyed('Server Key').toString('base64')
  return `SCRAM-SHA-256$${String(scramIterations)}:${salt.toString('base64')}$${storedKey}:${serverKey}`
}
