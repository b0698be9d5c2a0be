import { EventEmitter } from 'node:events'
import { expect, test } from 'vitest'
import { duplicateSignalMs, signalExitCode, stopSignals, type StopSignal } from './signals.ts'
import { manualClock } from './testing/manual-clock.ts'

function setup() {
  const source = new EventEmitter()
  const clock = manualClock()
  const exits: number[] = []
  const stops: StopSignal[] = []
  const signals = stopSignals(source, clock, {
    exit: (code) => void exits.push(code),
    onStop: (signal) => void stops.push(signal),
  })
  const send = (signal: StopSignal): void => {
    source.emit(signal, signal)
  }
  return { source, clock, exits, stops, signals, send }
}

test('the first signal stops, the second forces, the third ends', () => {
  const { clock, exits, stops, signals, send } = setup()
  expect([signals.stop.aborted, signals.forced.aborted, signals.received()]).toEqual([false, false, null])
  send('SIGINT')
  expect([signals.stop.aborted, signals.forced.aborted, signals.received()]).toEqual([true, false, 'SIGINT'])
  clock.advance(duplicateSignalMs)
  send('SIGINT')
  expect([signals.forced.aborted, exits]).toEqual([true, []])
  clock.advance(duplicateSignalMs)
  send('SIGTERM')
  expect([exits, stops]).toEqual([[143], ['SIGINT']])
})

test('the same signal twice at once, as it comes under npm, is one', () => {
  const { clock, signals, send } = setup()
  send('SIGINT')
  clock.advance(duplicateSignalMs - 1)
  send('SIGINT')
  expect([signals.stop.aborted, signals.forced.aborted]).toEqual([true, false])
})

test('listens no more after it is disposed', () => {
  const { source, signals, send } = setup()
  signals[Symbol.dispose]()
  send('SIGTERM')
  expect(signals.stop.aborted).toBe(false)
  expect(source.eventNames()).toEqual([])
})

test('exit codes are those of shells', () => {
  expect([signalExitCode('SIGINT'), signalExitCode('SIGTERM'), signalExitCode('SIGHUP')]).toEqual([
    130, 143, 129,
  ])
})
