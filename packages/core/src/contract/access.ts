// Contract of /api/v1/tokens, /api/v1/secrets, /api/v1/audit and /auth.
import { Type, type Static } from 'typebox'
import { scopePatternText } from '../access/mod.ts'
import { closed, IdSchema, nullable, oneOf, TimeSchema } from './schema.ts'

const NameSchema = Type.String({
  pattern: '^[A-Za-z0-9][A-Za-z0-9 ._@-]{0,62}$',
  description: 'who its owner is, for lists and the audit log',
  examples: ['ci'],
})

const ScopesSchema = Type.Array(
  Type.String({ pattern: scopePatternText, examples: ['operator', 'read:default', 'write:*'] }),
  {
    minItems: 1,
    maxItems: 100,
    description: 'viewer, operator, admin, read:KEYSPACE, write:KEYSPACE; * for all keyspaces',
  },
)

const tokenFields = {
  id: IdSchema,
  name: NameSchema,
  scopes: ScopesSchema,
  created_by: Type.String(),
  created_at: TimeSchema,
  expires_at: nullable(TimeSchema),
}

/** A token of the API, without what its owner sends. */
export const Token = closed(tokenFields)
/** A token of the API, without what its owner sends. */
export type Token = Static<typeof Token>

/** Body of POST /api/v1/tokens. */
export const CreateToken = closed({
  name: NameSchema,
  scopes: ScopesSchema,
  expires_at: Type.Optional(
    nullable(Type.String({ maxLength: 40, description: 'ISO 8601 time; never by default' })),
  ),
})
/** Body of POST /api/v1/tokens. */
export type CreateToken = Static<typeof CreateToken>

/** Answer of POST /api/v1/tokens: the only one with the token itself. */
export const CreatedToken = closed({
  ...tokenFields,
  token: Type.String({ description: 'what its owner sends; not shown again' }),
})
/** Answer of POST /api/v1/tokens: the only one with the token itself. */
export type CreatedToken = Static<typeof CreatedToken>

/** Answer of GET /api/v1/tokens. */
export const TokenList = closed({ tokens: Type.Array(Token) })
/** Answer of GET /api/v1/tokens. */
export type TokenList = Static<typeof TokenList>

/** Answer of POST /api/v1/secrets/rotation. */
export const SecretsRotation = closed({
  key: Type.String({ description: 'id of the key that all secrets are sealed with now' }),
  sealed: Type.Integer({ minimum: 0, description: 'secrets that were sealed anew' }),
  unchanged: Type.Integer({ minimum: 0, description: 'secrets that were sealed with it already' }),
})
/** Answer of POST /api/v1/secrets/rotation. */
export type SecretsRotation = Static<typeof SecretsRotation>

/** One record of the audit log. */
export const AuditRecord = closed({
  seq: Type.Integer({ minimum: 1 }),
  at: TimeSchema,
  phase: oneOf(['begun', 'ended', 'refused'], 'an act is begun, and ended with an outcome; or refused'),
  change: Type.String({ description: 'the same in both records of one act' }),
  who: closed({
    kind: oneOf(['anonymous', 'admin', 'token', 'jwt', 'session', 'system']),
    subject: Type.String(),
    role: nullable(oneOf(['viewer', 'operator', 'admin'])),
  }),
  from: Type.String({ description: 'address' }),
  what: Type.String({ examples: ['shard.create'] }),
  target: Type.String({ examples: ['default/shard-01'] }),
  reason: nullable(Type.String()),
  trace_id: Type.String(),
  before: Type.Unknown(),
  after: Type.Unknown(),
  outcome: nullable(Type.String({ description: '`ok`, or the code of the error' })),
  prev: Type.String({ description: '`hash` of the record before' }),
  hash: Type.String({ description: 'SHA-256 over the other fields' }),
})
/** One record of the audit log. */
export type AuditRecord = Static<typeof AuditRecord>

/** Answer of GET /api/v1/audit, the newest first. */
export const AuditList = closed({ records: Type.Array(AuditRecord) })
/** Answer of GET /api/v1/audit, the newest first. */
export type AuditList = Static<typeof AuditList>

/** Query of GET /api/v1/audit. */
export const AuditQuery = closed({
  before: Type.Optional(Type.Integer({ minimum: 1, description: 'only records older than that `seq`' })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: '100 by default' })),
})
/** Query of GET /api/v1/audit. */
export type AuditQuery = Static<typeof AuditQuery>

/** Answer of GET /api/v1/audit/verification. */
export const AuditVerification = closed({
  records: Type.Integer({ minimum: 0 }),
  first: nullable(Type.Integer()),
  last: nullable(Type.Integer()),
  hash: Type.String({
    description: 'of the last record: kept elsewhere, it shows later that nothing before it was changed',
  }),
  fault: nullable(
    closed({ seq: Type.Integer(), what: Type.String() }, 'the first record that is not as it was written'),
  ),
})
/** Answer of GET /api/v1/audit/verification. */
export type AuditVerification = Static<typeof AuditVerification>

/** Query of GET /auth/login. */
export const LoginQuery = closed({
  return_to: Type.Optional(
    Type.String({
      maxLength: 1024,
      description: 'path on this server to go on with afterwards; / by default',
      examples: ['/shards'],
    }),
  ),
})
/** Query of GET /auth/login. */
export type LoginQuery = Static<typeof LoginQuery>

/** Query of GET /auth/callback: what issuers add to it is theirs. */
export const CallbackQuery = Type.Object({
  code: Type.Optional(Type.String({ maxLength: 8192 })),
  state: Type.Optional(Type.String({ maxLength: 512 })),
  error: Type.Optional(Type.String({ maxLength: 512 })),
})
/** Query of GET /auth/callback: what issuers add to it is theirs. */
export type CallbackQuery = Static<typeof CallbackQuery>

/** Answer of GET /auth/me. */
export const Identity = closed({
  kind: oneOf(['anonymous', 'admin', 'token', 'jwt', 'session'], 'how the caller said who he is'),
  subject: Type.String(),
  name: nullable(Type.String({ description: 'for people; of a session, where the issuer tells one' })),
  role: nullable(oneOf(['viewer', 'operator', 'admin'])),
  grants: Type.Record(Type.String(), oneOf(['read', 'write']), {
    description: 'by keyspace, or * for all',
  }),
  expires_at: nullable(
    Type.String({ description: 'ISO 8601 time at which the session ends; null without one' }),
  ),
})
/** Answer of GET /auth/me. */
export type Identity = Static<typeof Identity>

/** Answer of POST /auth/logout. */
export const LoggedOut = closed({
  issuer_logout_url: nullable(
    Type.String({
      description: 'where a browser goes to sign out at the issuer too; null where it has no such page',
    }),
  ),
})
/** Answer of POST /auth/logout. */
export type LoggedOut = Static<typeof LoggedOut>
