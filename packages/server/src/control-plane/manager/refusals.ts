// Changes that were kept out at the door are in the audit log too; not more of them than it can bear.
import { randomUUID } from 'node:crypto'
import type { Clock } from '@fleetshard/core'
import type { AuditLog } from '../../audit/mod.ts'
import { reasonOf, type Refusal } from '../../runtime/http/mod.ts'
import type { Logger } from '../../runtime/mod.ts'
import { RateLimit } from '../../security/mod.ts'
import { actorOf } from './recorder.ts'

/** So many in a second, and at once; of more only the process's log tells. */
const refusalsPerSecond = 1
const refusalsAtOnce = 60

/** For the door of a manager. Never throws: what was refused stays refused. */
export function recordRefusals(parts: {
  readonly log: Logger
  readonly clock: Clock
  readonly audit: Pick<AuditLog, 'append'>
}): (refusal: Refusal) => Promise<void> {
  const { log, clock, audit } = parts
  const limit = new RateLimit({
    clock,
    perSecond: refusalsPerSecond,
    burst: refusalsAtOnce,
    what: () => 'refusals',
  })
  return async ({ route, request, principal, error }) => {
    if (route.kind !== 'change' && route.kind !== 'session') return
    const [target = ''] = request.url.split('?', 1)
    const reason = reasonOf(request.headers['x-fleetshard-reason'])
    const actor = actorOf({ principal, request, reason, traceId: request.id })
    const what = `${route.method} ${route.url}`
    log.warn({ ...actor, what, outcome: error.code, detail: error.message }, 'a change was refused')
    try {
      limit.use('all')
      await audit.append({
        ...actor,
        what,
        target,
        at: new Date(clock.now()).toISOString(),
        phase: 'refused',
        change: randomUUID(),
        before: null,
        after: null,
        outcome: error.code,
      })
    } catch (failure) {
      log.warn({ err: failure }, 'a refusal is not in the audit log')
    }
  }
}
