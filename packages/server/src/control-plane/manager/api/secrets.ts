// /api/v1/secrets
import { SecretsRotation } from '@fleetshard/core/contract'
import { ok, route, type Route } from '../../../runtime/http/mod.ts'
import { change, type Api } from './context.ts'

/** Endpoints of the passwords in the catalog. None of them tells one. */
export const secretRoutes = (api: Api): readonly Route[] => [
  route({
    method: 'POST',
    url: '/api/v1/secrets/rotation',
    tag: 'access',
    kind: 'change',
    permission: 'administer',
    summary: 'Seal all passwords in the catalog with the first key that the manager has',
    answers: { 200: SecretsRotation },
    handle: async (_input, call) =>
      change(api, { what: 'secrets.rotate', target: 'secrets' }, call, async ({ change: made, signal }) => {
        const rotated = await api.parts.catalog.secrets.reseal({ conditions: [made.condition], signal })
        made.after(rotated)
        return ok(rotated)
      }),
  }),
]
