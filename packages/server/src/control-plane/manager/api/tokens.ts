// /api/v1/tokens
import { FleetError, type TokenRecord } from '@fleetshard/core'
import { CreatedToken, CreateToken, TokenList, type Token } from '@fleetshard/core/contract'
import { created, gone, ok, route, type Route } from '../../../runtime/http/mod.ts'
import { makeToken } from '../../../security/mod.ts'
import { change, idParams, type Api } from './context.ts'

const tag = 'access'
const url = '/api/v1/tokens'

/** Tokens at once. */
const tokensMax = 10_000
/** Changes of tokens go one after the other: names are taken once. */
const mutexName = '/tokens'

/** Endpoints of API tokens. */
export const tokenRoutes = (api: Api): readonly Route[] => [list(api), create(api), revoke(api)]

const tokensOf = ({ parts }: Api): readonly TokenRecord[] => [...parts.fleet.state().tokens.values()]

function tokenView({ id, name, scopes, createdBy, createdAt, expiresAt }: TokenRecord): Token {
  return {
    id,
    name,
    scopes: [...scopes],
    created_by: createdBy,
    created_at: createdAt,
    expires_at: expiresAt,
  }
}

const list = (api: Api): Route =>
  route({
    method: 'GET',
    url,
    tag,
    kind: 'read',
    permission: 'administer',
    summary: 'All tokens, without what their owners send',
    answers: { 200: TokenList },
    handle: async () =>
      ok({
        tokens: tokensOf(api)
          .map(tokenView)
          .toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      }),
  })

const create = (api: Api): Route =>
  route({
    method: 'POST',
    url,
    tag,
    kind: 'change',
    permission: 'administer',
    summary: 'Make a token; it is in this answer and nowhere else',
    body: CreateToken,
    answers: { 201: CreatedToken },
    handle: async ({ body }, call) =>
      change(api, { what: 'token.create', target: body.name }, call, async ({ change: made, signal }) => {
        const { id, token, digest } = makeToken()
        const now = api.parts.clock.now()
        const record: TokenRecord = {
          id,
          name: body.name,
          digest,
          scopes: body.scopes,
          createdBy: call.principal.subject,
          createdAt: new Date(now).toISOString(),
          expiresAt: expiryOf(body.expires_at ?? null, now),
          version: 1,
        }
        await api.parts.mutex.run(mutexName, signal, async () => {
          refuseTaken(tokensOf(api), body.name)
          await api.parts.catalog.tokens.create(record, { conditions: [made.condition], signal })
          await api.parts.fleet.shown(({ tokens }) => tokens.has(id))
        })
        made.after(tokenView(record))
        const answer = created({ ...tokenView(record), token }, `${url}/${id}`)
        return withoutCopy(answer)
      }),
  })

/** Nobody between keeps what can be read once. */
function withoutCopy<A extends ReturnType<typeof created>>(answer: A): A {
  return answer.kind === 'json'
    ? { ...answer, headers: { ...answer.headers, 'cache-control': 'no-store' } }
    : answer
}

/** @throws FleetError `invalid_request` for a time that is over, or none */
function expiryOf(text: string | null, now: number): string | null {
  if (text === null) return null
  const ms = Date.parse(text)
  if (ms > now) return new Date(ms).toISOString()
  throw new FleetError('invalid_request', 'expires_at is not a time to come', {
    hint: 'send an ISO 8601 time, or leave it out for a token that does not expire',
  })
}

/** @throws FleetError `already_exists`, `overloaded` */
function refuseTaken(tokens: readonly TokenRecord[], name: string): void {
  if (tokens.some((token) => token.name === name)) {
    throw new FleetError('already_exists', `there is a token ${name}`, {
      hint: 'revoke it, or choose another name',
    })
  }
  if (tokens.length < tokensMax) return
  throw new FleetError('overloaded', `there are ${String(tokensMax)} tokens already`, {
    hint: 'revoke tokens that nobody uses',
  })
}

const revoke = (api: Api): Route =>
  route({
    method: 'DELETE',
    url: `${url}/:id`,
    tag,
    kind: 'change',
    permission: 'administer',
    summary: 'Revoke a token, by its id or its name: it is refused from now on',
    params: idParams,
    answers: { 204: null },
    handle: async ({ params }, call) =>
      change(api, { what: 'token.revoke', target: params.id }, call, async ({ change: made, signal }) => {
        const { parts } = api
        await parts.mutex.run(mutexName, signal, async () => {
          const known = tokensOf(api)
          const token =
            known.find(({ id }) => id === params.id) ?? known.find(({ name }) => name === params.id)
          if (token === undefined) throw new FleetError('not_found', `there is no token ${params.id}`)
          made.before(tokenView(token))
          await parts.catalog.tokens.delete(token.id, { conditions: [made.condition], signal })
          await parts.fleet.shown(({ tokens }) => !tokens.has(token.id))
        })
        return gone
      }),
  })
