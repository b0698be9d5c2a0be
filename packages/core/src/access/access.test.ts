import { describe, expect, it, test } from 'vitest'
import { isFleetError } from '../errors/fleet-error.ts'
import {
  everybody,
  grantOn,
  isPermitted,
  isScope,
  nobody,
  PERMISSIONS,
  requireGrant,
  requirePermission,
  rightsOf,
  type Permission,
  type Principal,
} from './access.ts'

const holder = (...scopes: string[]): Principal => ({ subject: 'ci', kind: 'token', ...rightsOf(scopes) })

function codeOf(work: () => unknown): string {
  try {
    work()
    return 'ok'
  } catch (error) {
    return isFleetError(error, 'forbidden') || isFleetError(error, 'unauthenticated')
      ? error.code
      : String(error)
  }
}

describe('permissions', () => {
  const expected: Readonly<Record<string, readonly Permission[]>> = {
    '': ['open'],
    viewer: ['open', 'self', 'view', 'place'],
    operator: ['open', 'self', 'view', 'operate', 'place'],
    admin: ['open', 'self', 'view', 'operate', 'administer', 'place', 'query', 'login', 'agent'],
    'read:app': ['open', 'self', 'place', 'query'],
    'write:app': ['open', 'self', 'place', 'query', 'login'],
    'viewer read:app': ['open', 'self', 'view', 'place', 'query'],
  }
  it.each(Object.entries(expected))('of "%s" are these and no others', (scopes, allowed) => {
    const all = Object.keys(PERMISSIONS) as Permission[]
    expect(all.filter((one) => isPermitted(holder(...scopes.split(' ')), one))).toEqual(allowed)
  })

  it('tells those who are not known from those who may not', () => {
    expect(codeOf(() => requirePermission(nobody, 'view'))).toBe('unauthenticated')
    expect(codeOf(() => requirePermission(holder('viewer'), 'operate'))).toBe('forbidden')
    expect(codeOf(() => requirePermission(everybody, 'administer'))).toBe('ok')
  })
})

describe('grants', () => {
  test.each([
    [['read:app'], 'app', 'read'],
    [['read:app', 'write:app'], 'app', 'write'],
    [['write:app', 'read:app'], 'app', 'write'],
    [['read:app'], 'other', null],
    [['read:*', 'write:app'], 'app', 'write'],
    [['read:app', 'write:*'], 'app', 'write'],
    [['read:*'], 'app', 'read'],
    [['operator'], 'app', null],
    [['admin'], 'app', 'write'],
  ])('%j on %s: %s', (scopes, keyspace, grant) => {
    expect(grantOn(holder(...scopes), keyspace)).toBe(grant)
  })

  it('is demanded by keyspace', () => {
    expect(codeOf(() => requireGrant(holder('write:app'), 'other'))).toBe('forbidden')
    expect(requireGrant(holder('write:app'), 'app')).toBe('write')
  })
})

test.each(['admin', 'read:*', 'write:app_1'])('%s is a scope', (text) => {
  expect(isScope(text)).toBe(true)
})

test.each(['root', 'Admin', 'admin ', 'read:', 'read:App', 'write:a;b', 'read', 'own:*', 'read:app\n'])(
  '%j is no scope and gives nothing',
  (text) => {
    expect(isScope(text)).toBe(false)
    expect(rightsOf([text])).toEqual({ role: null, grants: new Map() })
  },
)
