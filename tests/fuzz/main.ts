// `npm run fuzz -- TARGET [--messages N] [--seed S] [--json]`: throws mutated sessions at the codec (`pgwire`) or at a
// router that listens (`listener`), and says what came of it. `record` makes the sessions anew.
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { record } from './record.ts'
import { runListener } from './run-listener.ts'
import { runPgwire } from './run-pgwire.ts'

const messagesDefault: Readonly<Record<string, number>> = { pgwire: 1_000_000, listener: 50_000 }

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    messages: { type: 'string' },
    seed: { type: 'string', default: String(randomInt(2 ** 31)) },
    json: { type: 'boolean', default: false },
  },
})
const [target = ''] = positionals
const messages = Number(values.messages ?? messagesDefault[target])
const seed = Number(values.seed)
const fits = Number.isSafeInteger(messages) && messages > 0 && Number.isSafeInteger(seed) && seed >= 0

if (target === 'record') await record(console.error)
else if ((target === 'pgwire' || target === 'listener') && fits) {
  const report = await (target === 'pgwire' ? runPgwire : runListener)({ messages, seed })
  console.log(values.json ? JSON.stringify(report) : report.lines.join('\n'))
  if (!report.holds) process.exitCode = 1
} else {
  console.error(
    'usage: npm run fuzz -- pgwire|listener [--messages N] [--seed S] [--json]\n       npm run fuzz -- record',
  )
  process.exitCode = 2
}
