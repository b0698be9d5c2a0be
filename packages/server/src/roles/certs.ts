// `fleetshard certs init` and `certs issue`: a private authority in a folder, and certificates of it for every process.
// The library for X.509 is loaded here, where nothing else runs.
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { FleetError } from '@fleetshard/core'
import { EXIT, say, type CommandContext, type ExitCode } from '../cli/mod.ts'
import { makeAuthority, signCertificate, type KeyPairPem, type Validity } from '../security/authority.ts'

/** Whom `certs init` makes certificates for; `postgres` is for the servers of shards and catalog, `client` for people. */
const names = ['router', 'manager', 'worker', 'agent', 'postgres', 'etcd', 'client'] as const
const folderDefault = 'certs'
const nameForm = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/
const hostForm = /^[A-Za-z0-9*.:_-]{1,253}$/

const dayMs = 24 * 60 * 60 * 1000
const authorityDays = 3650
const daysDefault = 365
const daysMax = 3650
/** Clocks differ: a certificate is valid a little earlier than now. */
const skewMs = 5 * 60 * 1000

/** Makes the authority and a certificate for each kind of process; never over an authority that is there. */
export async function runCertsInit(context: CommandContext): Promise<ExitCode> {
  const folder = folderOf(context)
  if (existsSync(join(folder, 'ca.key')) || existsSync(join(folder, 'ca.crt'))) {
    throw new FleetError('invalid_usage', `${folder} has an authority already`, {
      hint: `fleetshard certs issue NAME makes a certificate of it; name another folder with --dir`,
    })
  }
  const hosts = hostsOf(context)
  const validity = validityOf(context)
  const authority = await makeAuthority({ ...validity, untilMs: validity.fromMs + authorityDays * dayMs })
  makeFolder(folder)
  write(folder, 'ca', authority)
  for (const name of names) write(folder, name, await signCertificate(authority, { name, hosts }, validity))
  say(context, `${folder} has an authority, and certificates for ${names.join(', ')} at ${hosts.join(', ')}`)
  say(context, `keep ca.key apart from the fleet: whoever has it can be any of its processes`)
  context.terminal.out(`${join(folder, 'ca.crt')}\n`)
  return EXIT.ok
}

/** Makes one more certificate, or a new one in place of one that ends soon. */
export async function runCertsIssue(context: CommandContext): Promise<ExitCode> {
  const folder = folderOf(context)
  const name = context.options.arg(0)
  if (!nameForm.test(name) || name === 'ca') {
    throw new FleetError('invalid_usage', `${JSON.stringify(name)} cannot be the name of a certificate`, {
      hint: 'letters, digits, dots, dashes and underscores; not ca',
    })
  }
  const authority = readAuthority(folder)
  const subject = { name, hosts: hostsOf(context) }
  write(folder, name, await signCertificate(authority, subject, validityOf(context)))
  say(context, `processes that use ${name}.crt take it over by themselves`)
  context.terminal.out(`${join(folder, `${name}.crt`)}\n`)
  return EXIT.ok
}

const folderOf = ({ options, cwd }: CommandContext): string =>
  resolve(cwd, options.text('dir') ?? folderDefault)

/** This machine, and what was named. @throws FleetError `invalid_usage` */
function hostsOf({ options }: CommandContext): readonly string[] {
  const given = options.list('host')
  const wrong = given.find((host) => !hostForm.test(host))
  if (wrong !== undefined) {
    throw new FleetError('invalid_usage', `${JSON.stringify(wrong)} is no host name and no address`, {
      hint: 'give names and addresses without scheme and port: --host db1.example --host 10.0.0.7',
    })
  }
  return [...new Set(['localhost', '127.0.0.1', '::1', hostname(), ...given])]
}

function validityOf({ options, clock }: CommandContext): Validity {
  const days = options.int('days', 1, daysMax) ?? daysDefault
  const nowMs = clock.now()
  return { fromMs: nowMs - skewMs, untilMs: nowMs + days * dayMs }
}

function readAuthority(folder: string): KeyPairPem {
  try {
    const read = (name: string): string => readFileSync(join(folder, name), 'utf8')
    return { certificate: read('ca.crt'), key: read('ca.key') }
  } catch (cause) {
    throw new FleetError('invalid_usage', `${folder} has no authority that could be read`, {
      hint: 'fleetshard certs init makes one; --dir names its folder',
      cause,
    })
  }
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o755 })
  } catch (cause) {
    throw unwritable(folder, cause)
  }
}

/** The key first, so that whoever follows the files never has a certificate whose key is not there yet for long. */
function write(folder: string, name: string, { certificate, key }: KeyPairPem): void {
  replace(join(folder, `${name}.key`), key, 0o600)
  replace(join(folder, `${name}.crt`), certificate, 0o644)
}

/** In one step: a reader sees the old or the new file whole. */
function replace(path: string, text: string, mode: number): void {
  const fresh = `${path}.${String(process.pid)}`
  try {
    writeFileSync(fresh, text, { mode, flag: 'wx' })
    chmodSync(fresh, mode) // whatever the umask is
    renameSync(fresh, path)
  } catch (cause) {
    throw unwritable(path, cause)
  }
}

function unwritable(path: string, cause: unknown): FleetError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'an error'
  return new FleetError('invalid_usage', `${path} cannot be written: ${code}`, {
    hint: 'choose another folder with --dir',
    cause,
  })
}
