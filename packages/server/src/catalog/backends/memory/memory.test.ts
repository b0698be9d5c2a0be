import { systemClock } from '../../../runtime/mod.ts'
import { testConformance } from '../../conformance.ts'
import { createMemoryBackend } from './mod.ts'

testConformance(
  'memory',
  () => {
    const backend = createMemoryBackend({ clock: systemClock })
    return Promise.resolve({
      open: () => backend.open(),
      compact: () => Promise.resolve(backend.compact()),
      ttlMsMin: 100,
      server: null,
      [Symbol.asyncDispose]: () => Promise.resolve(),
    })
  },
  false,
)
