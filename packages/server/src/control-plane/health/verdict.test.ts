import { parseNodeId, type NodeRecord, type ShardRecord } from '@fleetshard/core'
import { describe, expect, it } from 'vitest'
import type { Liveness } from '../../agent-api/mod.ts'
import type { AgentView, ProbeResult, ShardProbe } from './probes.ts'
import { judge, missesMax, unwatched, watchedAfter } from './verdict.ts'

const node = (id: string) => ({ id: parseNodeId(id) }) as NodeRecord
const missed = (id: string): ProbeResult => ({ kind: 'missed', node: node(id), reason: 'no answer' })
const replica = (id: string, silentMs: number | null): ProbeResult => ({
  kind: 'answered',
  node: node(id),
  probe: {
    inRecovery: true,
    timeline: 1,
    position: null,
    replayed: null,
    receiver: silentMs === null ? null : { status: 'streaming', silentMs },
    senders: [],
    lagMs: null,
  },
  figures: null,
})
const told = (found: Partial<Liveness>, server: Partial<Liveness['server']> = {}): AgentView => ({
  kind: 'told',
  liveness: {
    process: 'none',
    answers: false,
    server: { state: 'crashed', desired: 'running', start_failures: 1, ...server } as Liveness['server'],
    ...found,
  },
})
const unreachable: AgentView = { kind: 'unreachable', reason: 'no answer' }

function verdictAfter(
  misses: number,
  probe: Partial<ShardProbe>,
  { isSynchronous = false, sinceMs = 1_000 } = {},
): string {
  const seen: ShardProbe = {
    shard: {} as ShardRecord,
    primary: missed('a'),
    replicas: [],
    agent: unreachable,
    ...probe,
  }
  return judge({ misses, missingSinceMs: 0 }, seen, { nowMs: sinceMs, isSynchronous }).kind
}

describe('the verdict on a primary', () => {
  it('counts misses in a row, and forgets them at the first answer', () => {
    const seen = { primary: missed('a') } as ShardProbe
    const twice = watchedAfter(watchedAfter(unwatched, seen, 10), seen, 20)
    expect(twice).toEqual({ misses: 2, missingSinceMs: 10 })
    expect(watchedAfter(twice, { primary: replica('a', null) } as ShardProbe, 30)).toEqual(unwatched)
  })

  it('is suspicion until three misses, and down only if another sees it gone', () => {
    const agent = told({})
    expect(verdictAfter(0, { agent })).toBe('healthy')
    expect(verdictAfter(missesMax - 1, { agent })).toBe('suspect')
    expect(verdictAfter(missesMax, { agent })).toBe('down')
    expect(verdictAfter(100, {})).toBe('isolated')
    expect(verdictAfter(100, { agent: told({ process: 'running', answers: true }) })).toBe('isolated')
    // Its agent stands beside it: what replicas see less of does not outweigh that.
    const replicas = [replica('b', null), replica('c', null)]
    expect(verdictAfter(100, { replicas, agent: told({ process: 'running', answers: true }) })).toBe(
      'isolated',
    )
  })

  it('takes the word of the replicas where no agent can be asked', () => {
    expect(verdictAfter(3, { replicas: [replica('b', null), replica('c', null)] })).toBe('down')
    expect(verdictAfter(3, { replicas: [replica('b', null), replica('c', 100)] })).toBe('isolated')
    expect(verdictAfter(3, { replicas: [replica('b', 9_000)] })).toBe('down')
    expect(verdictAfter(3, { replicas: [missed('b'), missed('c')] })).toBe('isolated')
  })

  it('takes a process that a signal has stopped, or that does not answer, for gone', () => {
    for (const agent of [told({ process: 'frozen' }), told({ process: 'running', answers: false })]) {
      expect(verdictAfter(3, { agent })).toBe('down')
    }
  })

  it('waits for a restart that its agent is about to make, unless a failover costs nothing', () => {
    for (const server of [{ state: 'starting' }, { state: 'crashed', start_failures: 0 }] as const) {
      const agent = told({}, server)
      expect(verdictAfter(3, { agent })).toBe('suspect')
      expect(verdictAfter(9, { agent }, { sinceMs: 3_000 })).toBe('down')
      expect(verdictAfter(3, { agent }, { isSynchronous: true })).toBe('down')
      expect(verdictAfter(3, { agent: told({}, { ...server, desired: 'fenced' }) })).toBe('down')
    }
  })
})
