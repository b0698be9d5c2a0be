import { expect, test } from 'vitest'
import { withTraceparent } from './trace-comment.ts'

const theirs = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
const ours = '00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01'
const comment = `/*traceparent='${ours}'*/`

test.each([
  ['select 1', `select 1 ${comment}`],
  ['select 1;', `select 1; ${comment}`],
  ['select 1; select 2', `select 1; select 2 ${comment}`],
  ['select 1 -- one', `select 1 -- one\n${comment}`],
  ['select 1 -- one\n', `select 1 -- one\n ${comment}`],
  [`select 1 /*app='x',traceparent='${theirs}'*/;`, `select 1 /*app='x',traceparent='${ours}'*/;`],
  [`/* traceparent='${theirs}',a='b' */ select 1`, `/* traceparent='${ours}',a='b' */ select 1`],
  [`/* /* traceparent='${theirs}' */ */ select 1`, `/* /* traceparent='${theirs}' */ */ select 1 ${comment}`],
  // What is no comment is a value.
  [`select $$/*traceparent='${theirs}'*/$$`, `select $$/*traceparent='${theirs}'*/$$ ${comment}`],
  [
    `select * from t where traceparent='${theirs}' -- */`,
    `select * from t where traceparent='${theirs}' -- */\n${comment}`,
  ],
  [
    `select * from t where traceparent='${theirs}' /* so */`,
    `select * from t where traceparent='${theirs}' /* so */ ${comment}`,
  ],
  [
    `/* so */ select * from t where traceparent='${theirs}'`,
    `/* so */ select * from t where traceparent='${theirs}' ${comment}`,
  ],
])('%s goes to its server with the trace', (text, sent) => {
  expect(withTraceparent(text, ours)).toBe(sent)
})

test('takes no time to speak of for what is made to take long', () => {
  const long = `traceparent='${theirs}'`.repeat(20_000)
  expect(withTraceparent(`/*${long}`, ours)).toContain(ours)
  expect(withTraceparent(`/*${'-/*'.repeat(300_000)}traceparent='`, ours)).toContain(ours)
})
