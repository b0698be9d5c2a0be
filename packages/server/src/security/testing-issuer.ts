// A small issuer of OpenID Connect for tests: discovery, keys, authorization code with PKCE, logout; it lets everybody
// in as the person it is told, checks what a real one checks, and misbehaves when asked to. With it a browser: cookies,
// and redirects that are followed by hand.
import { createHash, randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose'
import { systemClock } from '../runtime/mod.ts'

/** What the client of the tests is registered with. */
export const testClient = { id: 'fleetshard-console', secret: 'the secret/of+the client: of tests' } as const

/** Endpoints of the issuer. */
export type IssuerEndpoint = 'metadata' | 'keys' | 'token'

/** How it misbehaves; whatever is left out works. */
export interface IssuerFaults {
  /** Answers in place of an endpoint. `silent` never comes. */
  answers?: Partial<Record<IssuerEndpoint, IssuerAnswer | 'silent'>>
  /** Changes to its metadata. */
  metadata?: Record<string, unknown>
  /** Claims of the next tokens, over the right ones; undefined leaves one out. */
  claims?: Record<string, unknown>
  /** Makes the identity token itself. */
  sign?: (claims: Record<string, unknown>) => Promise<string>
  /** Keys are signed with and not published. */
  hidesKey?: boolean
  /** The code that it refuses to let anybody in with. */
  refusal?: string
}

/** An answer as it is. */
export interface IssuerAnswer {
  readonly status: number
  readonly type?: string
  readonly body: string
}

/** A running issuer. */
export interface TestIssuer extends AsyncDisposable {
  readonly url: string
  /** Who signs in next. */
  person: { readonly sub: string } & Readonly<Record<string, unknown>>
  faults: IssuerFaults
  /** Signs with a new key from now on, and publishes no other. */
  rotateKey(): Promise<void>
  /** Signs by the key of the moment. */
  sign(claims: Record<string, unknown>): Promise<string>
  /** The public key of the moment. */
  publicKey(): JWK
  /** Codes and tokens that it has given out: none of them may be seen anywhere. */
  readonly given: readonly string[]
  /** How often an endpoint was asked. */
  asked(endpoint: IssuerEndpoint): number
}

interface Grant {
  readonly challenge: string
  readonly redirectUri: string
  readonly nonce: string
  readonly person: TestIssuer['person']
}

interface Key {
  readonly privateKey: CryptoKey
  readonly jwk: JWK
}

const lifeSeconds = 300

async function makeKey(): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  return { privateKey, jwk: { ...(await exportJWK(publicKey)), kid: randomUUID(), alg: 'ES256', use: 'sig' } }
}

/** Listens on loopback. */
export async function startIssuer(): Promise<TestIssuer> {
  const issuer = new Issuer(await makeKey())
  await issuer.listen()
  return issuer
}

class Issuer implements TestIssuer {
  person: TestIssuer['person'] = { sub: 'alice', groups: ['fleet-admins'], preferred_username: 'Alice' }
  faults: IssuerFaults = {}
  readonly given: string[] = []
  readonly #grants = new Map<string, Grant>()
  readonly #asked = new Map<IssuerEndpoint, number>()
  readonly #server = createServer((request, response) => {
    void this.#answer(request, response)
  })
  #key: Key
  #url = ''

  constructor(key: Key) {
    this.#key = key
  }

  get url(): string {
    return this.#url
  }

  async listen(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#server.listen(0, '127.0.0.1', resolve)
    await promise
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('the issuer listens on no port')
    this.#url = `http://127.0.0.1:${String(address.port)}`
  }

  async rotateKey(): Promise<void> {
    this.#key = await makeKey()
  }

  publicKey(): JWK {
    return this.#key.jwk
  }

  asked(endpoint: IssuerEndpoint): number {
    return this.#asked.get(endpoint) ?? 0
  }

  sign(claims: Record<string, unknown>): Promise<string> {
    const { kid } = this.#key.jwk
    return new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', ...(kid === undefined ? {} : { kid }) })
      .sign(this.#key.privateKey)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#server.close(() => {
      resolve()
    })
    this.#server.closeAllConnections()
    await promise
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', this.#url)
    const body = await textOf(request)
    switch (url.pathname) {
      case '/.well-known/openid-configuration':
        this.#endpoint('metadata', response, () => json(200, this.#metadata()))
        return
      case '/keys':
        this.#endpoint('keys', response, () =>
          json(200, { keys: this.faults.hidesKey === true ? [] : [this.#key.jwk] }),
        )
        return
      case '/token': {
        const answer = await this.#token(request, new URLSearchParams(body))
        this.#endpoint('token', response, () => answer)
        return
      }
      case '/authorize':
        response.writeHead(302, { location: this.#authorize(url.searchParams) }).end()
        return
      default:
        response.writeHead(404).end()
    }
  }

  #endpoint(endpoint: IssuerEndpoint, response: ServerResponse, right: () => IssuerAnswer): void {
    this.#asked.set(endpoint, this.asked(endpoint) + 1)
    const fault = this.faults.answers?.[endpoint]
    if (fault === 'silent') return
    const { status, type = 'application/json', body } = fault ?? right()
    response.writeHead(status, { 'content-type': type }).end(body)
  }

  #metadata(): Record<string, unknown> {
    return {
      issuer: this.#url,
      authorization_endpoint: `${this.#url}/authorize`,
      token_endpoint: `${this.#url}/token`,
      jwks_uri: `${this.#url}/keys`,
      end_session_endpoint: `${this.#url}/logout`,
      id_token_signing_alg_values_supported: ['ES256'],
      ...this.faults.metadata,
    }
  }

  /** Everybody is let in at once. */
  #authorize(asked: URLSearchParams): string {
    const get = (name: string): string => asked.get(name) ?? ''
    if (get('client_id') !== testClient.id || get('response_type') !== 'code')
      throw new Error('the client does not know how to ask')
    if (get('code_challenge_method') !== 'S256' || !get('scope').split(' ').includes('openid'))
      throw new Error('the client asks for no identity, or without PKCE')
    const back = new URL(get('redirect_uri'))
    back.searchParams.set('state', get('state'))
    if (this.faults.refusal !== undefined) {
      back.searchParams.set('error', this.faults.refusal)
      back.searchParams.set('error_description', '<script>alert(1)</script>')
      return back.href
    }
    const code = `code-${randomUUID()}`
    this.given.push(code)
    this.#grants.set(code, {
      challenge: get('code_challenge'),
      redirectUri: get('redirect_uri'),
      nonce: get('nonce'),
      person: this.person,
    })
    back.searchParams.set('code', code)
    // As many issuers add things of their own.
    back.searchParams.set('session_state', 'something of the issuer')
    return back.href
  }

  async #token(request: IncomingMessage, form: URLSearchParams): Promise<IssuerAnswer> {
    const basic = Buffer.from(
      (request.headers.authorization ?? '').replace(/^Basic /, ''),
      'base64',
    ).toString()
    const [id = '', secret = ''] = basic
      .split(':')
      .map((part) => decodeURIComponent(part.replaceAll('+', ' ')))
    if (id !== testClient.id || secret !== testClient.secret) return json(400, { error: 'invalid_client' })
    const code = form.get('code') ?? ''
    const grant = this.#grants.get(code)
    this.#grants.delete(code)
    const challenge = createHash('sha256')
      .update(form.get('code_verifier') ?? '')
      .digest('base64url')
    if (grant?.challenge !== challenge || grant.redirectUri !== form.get('redirect_uri'))
      return json(400, { error: 'invalid_grant', error_description: `not ${code}` })
    const iat = Math.floor(systemClock.now() / 1000)
    const claims = {
      iss: this.#url,
      aud: testClient.id,
      iat,
      exp: iat + lifeSeconds,
      nonce: grant.nonce,
      ...grant.person,
      ...this.faults.claims,
    }
    const idToken = await (this.faults.sign ?? ((all) => this.sign(all)))(claims)
    const accessToken = `access-${randomUUID()}`
    this.given.push(idToken, accessToken)
    return json(200, { access_token: accessToken, token_type: 'Bearer', expires_in: 60, id_token: idToken })
  }
}

const json = (status: number, body: unknown): IssuerAnswer => ({ status, body: JSON.stringify(body) })

async function textOf(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of request) text += String(chunk)
  return text
}

/** An answer as a browser gets it. */
export interface BrowserAnswer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** Where it is sent; null for nowhere. */
  readonly location: string | null
}

/** A browser with its cookies, which it sends to every manager: they are behind one address. */
export interface TestBrowser {
  readonly cookies: Map<string, string>
  /** The `set-cookie` headers of all answers. */
  readonly setCookies: readonly string[]
  send(
    url: string,
    init?: { readonly method?: string; readonly headers?: Record<string, string> },
  ): Promise<BrowserAnswer>
  /**
   * Signs in: begins at one manager and comes back to another.
   * @returns the answer of the callback
   */
  signIn(begins: string, ends: string, returnTo?: string): Promise<BrowserAnswer>
  /** Begins at that manager and goes to the issuer. @returns path and query of the callback */
  toIssuer(begins: string, returnTo?: string): Promise<string>
}

/** One without cookies. */
export function openBrowser(): TestBrowser {
  const cookies = new Map<string, string>()
  const setCookies: string[] = []
  const browser: TestBrowser = {
    cookies,
    setCookies,
    async send(url, { method = 'GET', headers = {} } = {}) {
      const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
      const response = await fetch(url, {
        method,
        redirect: 'manual',
        headers: { ...(cookie === '' ? {} : { cookie }), ...headers },
      })
      for (const line of response.headers.getSetCookie()) {
        setCookies.push(line)
        const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
        if (/max-age=0(;|$)/i.test(line)) cookies.delete(name)
        else cookies.set(name, value)
      }
      const location = response.headers.get('location')
      return { status: response.status, headers: response.headers, text: await response.text(), location }
    },
    async toIssuer(begins, returnTo) {
      const query = returnTo === undefined ? '' : `?return_to=${encodeURIComponent(returnTo)}`
      const begun = await browser.send(`${begins}/auth/login${query}`)
      if (begun.location === null) throw new Error(`no login: ${String(begun.status)} ${begun.text}`)
      const back = await fetch(begun.location, { redirect: 'manual' })
      const { pathname, search } = new URL(back.headers.get('location') ?? '')
      return pathname + search
    },
    async signIn(begins, ends, returnTo) {
      return browser.send(ends + (await browser.toIssuer(begins, returnTo)))
    },
  }
  return browser
}
