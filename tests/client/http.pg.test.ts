// The client in http mode: all that both modes must do alike.
import { afterAll, beforeAll, describe } from 'vitest'
import { clientConformance, type ConformanceContext } from './conformance.ts'
import { startContext } from './context.ts'

describe('the client in http mode', () => {
  let context: ConformanceContext & AsyncDisposable

  beforeAll(async () => {
    context = await startContext('http')
  })
  afterAll(() => context[Symbol.asyncDispose]())

  clientConformance(() => context)
})
