// The client in direct mode: all that both modes must do alike.
import { afterAll, beforeAll, describe } from 'vitest'
import { clientConformance, type ConformanceContext } from './conformance.ts'
import { startContext } from './context.ts'

describe('the client in direct mode', () => {
  let context: ConformanceContext & AsyncDisposable

  beforeAll(async () => {
    context = await startContext('direct')
  })
  afterAll(() => context[Symbol.asyncDispose]())

  clientConformance(() => context)
})
