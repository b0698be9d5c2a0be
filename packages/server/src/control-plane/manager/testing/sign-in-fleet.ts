// Two managers of one catalog behind one address, at which people sign in with a browser, and what they have logged.
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CatalogStore } from '../../../catalog/mod.ts'
import { createLogging, systemClock } from '../../../runtime/mod.ts'
import {
  createAuthenticator,
  createEnvelopeSealer,
  createLocalKeyService,
  createOidc,
  type EnvelopeSealer,
  type OidcOptions,
} from '../../../security/mod.ts'
import { testClient, type TestIssuer } from '../../../security/testing-issuer.ts'
import { startManager, type RunningManager } from './managers.ts'
import { simulate } from './simulated-engine.ts'

/** Where browsers reach the managers: a proxy that ends TLS, which the tests stand in for. */
export const publicOrigin = 'https://fleet.example'

/** Of the operator. */
export const adminToken = 'the-token-of-the-operator-of-this-test'

/** What tests may set. */
export interface SignInFleetSetting {
  readonly store: CatalogStore
  readonly issuer: TestIssuer
  readonly oidc?: Partial<OidcOptions>
  readonly sessionMs?: number
  readonly failuresPerMinute?: number
  readonly clientSecret?: string
}

/** The fleet. */
export interface SignInFleet extends AsyncDisposable {
  readonly one: RunningManager
  readonly two: RunningManager
  /** What seals logins under way. */
  readonly sealer: EnvelopeSealer
  /** All that the managers have logged. */
  log(): string
}

/** Starts it; one of the managers leads. */
export async function startSignInFleet(setting: SignInFleetSetting): Promise<SignInFleet> {
  const { store, issuer, failuresPerMinute = 0 } = setting
  const folder = mkdtempSync(join(tmpdir(), 'fleetshard-sign-in-'))
  const logFile = join(folder, 'log')
  const { log } = createLogging('trace', logFile)
  const sealer = createEnvelopeSealer(
    createLocalKeyService({ kind: 'text', text: randomBytes(32).toString('base64') }),
  )
  const options: OidcOptions = {
    issuer: issuer.url,
    clientId: testClient.id,
    clientSecret: 'env:SECRET',
    publicUrl: publicOrigin,
    scopes: 'openid profile',
    claim: 'groups',
    roles: 'fleet-admins=admin,sre=operator,staff=viewer',
    defaultRole: null,
    skewMs: 0,
    ...setting.oidc,
  }
  const start = (id: string): Promise<RunningManager> => {
    const secret = () => Promise.resolve(setting.clientSecret ?? testClient.secret)
    const oidc = createOidc(options, { clock: systemClock, secret })
    if (oidc === null) throw new Error('there is an issuer')
    return startManager({
      store,
      id,
      log,
      engine: simulate().engine,
      signIn: { oidc, sealer, failuresPerMinute, sessionMs: setting.sessionMs ?? 60_000 },
      gate: (tokens, sessions) =>
        createAuthenticator({
          clock: systemClock,
          isRequired: true,
          onlyOwnHost: false,
          adminToken,
          tokens,
          sessions,
          jwt: null,
          failuresPerMinute,
          requestsPerSecond: 0,
        }),
    })
  }
  const one = await start('manager-one')
  await one.leads()
  const two = await start('manager-two')
  return {
    one,
    two,
    sealer,
    log: () => readFileSync(logFile, 'utf8'),
    async [Symbol.asyncDispose]() {
      await Promise.all([one[Symbol.asyncDispose](), two[Symbol.asyncDispose]()])
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
