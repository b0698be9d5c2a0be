// Test projects by suffix: `unit` needs nothing, `pg` starts real servers, `e2e` starts whole clusters. `reshard` (moves
// that are killed at every step), `compat` (the clients that people use) and `security` (attacks on a fleet that asks
// everybody who he is) take longer and are no part of `npm test`.
import { accessSync, constants, readFileSync, statfsSync } from 'node:fs'
import { defineConfig } from 'vitest/config'

const memory = '/dev/shm'
const memoryBytesMin = 6 * 2 ** 30

/** Servers of tests lie in memory where there is room: making and removing their thousands of files took a third of the time. */
function hasRoomInMemory(): boolean {
  try {
    accessSync(memory, constants.W_OK)
    const { bavail, bsize } = statfsSync(memory)
    const mount = readFileSync('/proc/mounts', 'utf8')
      .split('\n')
      .find((line) => line.split(' ')[1] === memory)
    return bavail * bsize >= memoryBytesMin && mount !== undefined && !mount.includes('noexec')
  } catch {
    return false // not Linux
  }
}
// The workers, and whatever they start, get it from the environment.
if (hasRoomInMemory()) process.env['TMPDIR'] ??= memory

const exclude = ['**/node_modules/**', '**/.build/**']
/** A busy machine makes what is waited for late, not wrong. */
const expect = { poll: { timeout: 20_000 } }

/** Jobs that are killed at every step take minutes: a project of their own. */
const long = [
  'packages/server/src/workers/reshard/*.pg.test.ts',
  'packages/server/src/workers/schema/kill.pg.test.ts',
  'tests/faults/*.pg.test.ts',
]

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            'packages/*/src/**/*.test.ts',
            'tools/**/*.test.ts',
            'bench/**/*.test.ts',
            'tests/fuzz/**/*.test.ts',
            'tests/faults/**/*.test.ts',
          ],
          exclude: [...exclude, '**/*.pg.test.ts'],
          expect,
          isolate: false,
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'pg',
          include: [
            'packages/*/src/**/*.pg.test.ts',
            'tests/client/**/*.pg.test.ts',
            'tests/faults/**/*.pg.test.ts',
          ],
          exclude: [...exclude, ...long],
          expect,
          isolate: false,
          testTimeout: 60_000,
          hookTimeout: 120_000,
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'reshard',
          include: long,
          exclude,
          expect,
          testTimeout: 60_000,
          hookTimeout: 120_000,
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'compat',
          include: ['tests/compat/**/*.test.ts'],
          exclude,
          testTimeout: 60_000,
          hookTimeout: 180_000,
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'security',
          include: ['tests/security/**/*.test.ts'],
          exclude,
          expect,
          testTimeout: 120_000,
          hookTimeout: 180_000,
          maxWorkers: 1,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['tests/e2e/**/*.test.ts', 'tests/package/**/*.test.ts'],
          exclude,
          expect,
          testTimeout: 120_000,
          hookTimeout: 180_000,
          maxWorkers: 2,
        },
      },
    ],
  },
})
