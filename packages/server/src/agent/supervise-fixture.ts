// A process that runs an agent on the folder given and tells of its servers, for tests that kill it.
import { openAgent } from './open-agent.ts'
import { testAgentOptions } from './testing.ts'

const [folder = '', dieWithParent = 'no'] = process.argv.slice(2)
const agent = await openAgent({ ...testAgentOptions(folder), dieWithParent: dieWithParent === 'yes' })
await agent.startAll()
await agent.createPrimary({ id: 'a' })
process.stdout.write(`${JSON.stringify(agent.get('a'))}\n`)
process.stdin.resume() // until we are killed, or stop
process.stdin.once('end', () => {
  void agent[Symbol.asyncDispose]()
})
