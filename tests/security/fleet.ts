// The fleet that is attacked: started as users start it, asking everybody who he is, with an issuer of JSON web tokens
// whose keys the tests have.
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { exportJWK, importPKCS8, SignJWT } from 'jose'
import { Cluster, temporaryFolder } from '../e2e/harness/cluster.ts'
import { send, type Answer } from '../e2e/harness/http.ts'

/** Who the tokens are of. */
export const issuer = 'https://issuer.test'

/** A running fleet with what only its operator and its issuer have. */
export interface Fleet extends AsyncDisposable {
  readonly cluster: Cluster
  /** Of the operator. */
  readonly adminToken: string
  readonly sharedSecret: string
  /** The issuer's public key as everybody may have it. */
  readonly publicPem: string
  /** A token by the shared secret; `changed` replaces its claims. */
  byShared(changed?: Record<string, unknown>): Promise<string>
  /** A token by the issuer's key. */
  byIssuer(changed?: Record<string, unknown>): Promise<string>
  /** A token of the API. */
  made(name: string, ...scopes: string[]): Promise<string>
  manager(token: string | null, method: string, path: string, body?: unknown): Promise<Answer<unknown>>
  router(token: string | null, method: string, path: string, body?: unknown): Promise<Answer<unknown>>
}

const kid = 'key-1'
const lifeSeconds = 600

/** Starts it. */
export async function startFleet(more: readonly string[] = []): Promise<Fleet> {
  const folder = temporaryFolder()
  const keys = join(folder, 'keys')
  mkdirSync(keys)
  const sharedSecret = 'the secret that the tests share with the fleet'
  const pair = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const publicPem = pair.publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const privatePem = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  writeFileSync(join(keys, 'secret'), sharedSecret)
  const jwk = { ...(await exportJWK(pair.publicKey)), kid, alg: 'RS256' }
  writeFileSync(join(keys, 'jwks.json'), JSON.stringify({ keys: [jwk] }))
  const up = [
    '--auth=required',
    '--shards=2',
    '--replicas=0',
    `--auth-jwt-secret-file=${join(keys, 'secret')}`,
    `--auth-jwks-file=${join(keys, 'jwks.json')}`,
    `--auth-jwt-issuer=${issuer}`,
    '--auth-failures-per-minute=0',
    ...more,
  ]
  const cluster = new Cluster({ up }, folder)
  await cluster.start()
  const adminToken = readFileSync(join(cluster.dataDir, 'admin.token'), 'utf8').trim()
  const privateKey = await importPKCS8(privatePem, 'RS256')
  const caller =
    (base: 'manager' | 'router') =>
    (token: string | null, method: string, path: string, body?: unknown): Promise<Answer<unknown>> => {
      const headers: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` }
      return send(method, cluster.state.urls[base] + path, body, headers)
    }
  const manager = caller('manager')
  return {
    cluster,
    adminToken,
    sharedSecret,
    publicPem,
    byShared: (changed) =>
      claims(changed).setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(sharedSecret)),
    byIssuer: (changed) => claims(changed).setProtectedHeader({ alg: 'RS256', kid }).sign(privateKey),
    async made(name, ...scopes) {
      const { status, body } = await manager(adminToken, 'POST', '/api/v1/tokens', { name, scopes })
      if (status !== 201) throw new Error(`no token: ${JSON.stringify(body)}`)
      return (body as unknown as { token: string }).token
    },
    manager,
    router: caller('router'),
    [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose](),
  }
}

/** The claims of a good token. */
export function claims(changed: Record<string, unknown> = {}): SignJWT {
  const exp = Math.floor(Date.now() / 1000) + lifeSeconds
  return new SignJWT({ sub: 'alice', iss: issuer, aud: 'fleetshard', exp, fleetshard: ['admin'], ...changed })
}

/** Nothing that an answer says may show how the program is made. */
export const inside = /node_modules|\.ts:\d|\bat [\w.]+ \(|\/packages\/|Error:/
