import { describe, expect, it } from 'vitest'
import { systemClock } from '../runtime/mod.ts'
import { createOidc, type OidcOptions } from './oidc.ts'

const publicOrigin = 'https://fleet.example'

describe('settings that do not go together', () => {
  const good: OidcOptions = {
    issuer: 'https://issuer.example/realms/a',
    clientId: 'a',
    clientSecret: 'env:A',
    publicUrl: publicOrigin,
    scopes: 'openid',
    claim: 'groups',
    roles: 'a=admin',
    defaultRole: null,
    skewMs: 0,
  }
  const made = (changed: Partial<OidcOptions>) =>
    createOidc({ ...good, ...changed }, { clock: systemClock, secret: () => Promise.resolve('') })

  it.each<[Partial<OidcOptions>, string]>([
    [{ clientId: null }, 'auth.oidc-client-id'],
    [{ clientSecret: null }, 'auth.oidc-client-secret'],
    [{ publicUrl: null }, 'auth.oidc-public-url'],
    [{ publicUrl: 'http://fleet.example' }, 'auth.oidc-public-url'],
    [{ publicUrl: 'https://fleet.example/path' }, 'auth.oidc-public-url'],
    [{ publicUrl: 'https://a:b@fleet.example/' }, 'auth.oidc-public-url'],
    [{ issuer: 'http://issuer.example' }, 'auth.oidc-issuer'],
    [{ scopes: 'profile' }, 'auth.oidc-scopes'],
    [{ roles: null }, 'auth.oidc-default-role'],
    [{ roles: 'a=root' }, 'auth.oidc-roles'],
    [{ roles: 'admin' }, 'auth.oidc-roles'],
    [{ roles: '=admin' }, 'auth.oidc-roles'],
    [{ roles: '%zz=admin' }, 'auth.oidc-roles'],
  ])('are refused at the start: %j', (changed, key) => {
    let told = ''
    try {
      made(changed)
    } catch (error) {
      told = JSON.stringify([
        (error as { code: string }).code,
        String(error),
        (error as { hint: string }).hint,
      ])
    }
    expect(told).toContain('invalid_config')
    expect(told).toContain(key)
  })

  it('are none without an issuer', () => {
    expect(made({ issuer: null, clientId: null })).toBeNull()
    expect(made({})?.publicOrigin).toBe(publicOrigin)
  })
})
