// The same random messages to a server and to a router, step by step; stops where the answers part.
import { RawConnection, connectionEnd, type Received, type Target } from './connection.ts'
import { RandomClient, type RandomStep } from './random.ts'

/** One end of the comparison. */
class End {
  readonly connection: RawConnection
  /** An error has come since the last Sync: the server passes over all up to the next. */
  #isSkipping = false
  /** Answers to messages of the group that is open. */
  #answered = 0

  constructor(connection: RawConnection) {
    this.connection = connection
  }

  async take({ bytes, ready, open }: RandomStep): Promise<readonly Received[]> {
    this.connection.send(bytes)
    if (ready > 0) {
      this.#isSkipping = false
      this.#answered = 0
    }
    const received: Received[] = []
    let left = ready
    if (left > 0) received.push(...(await this.connection.read((came) => count(came, 'Z') >= left)))
    left = 0
    if (open === 0 || this.#isSkipping || received.at(-1)?.letter === connectionEnd) return received
    const before = this.#answered
    const rest = await this.connection.read(
      (came) => before + answersIn(came) >= open || came.at(-1)?.letter === 'E',
    )
    this.#isSkipping = rest.at(-1)?.letter === 'E'
    this.#answered = before + answersIn(rest)
    return [...received, ...rest]
  }
}

const count = (received: readonly Received[], letter: string): number =>
  received.filter((message) => message.letter === letter).length

/** What ends the answer to one message. */
const answersIn = (received: readonly Received[]): number =>
  received.filter(({ letter }) => '123TnCsI'.includes(letter)).length

/** The steps on one target as long as `goesOn` of each answer; the answers to each. */
export async function runRandom(
  target: Target,
  steps: readonly RandomStep[],
  goesOn: (received: readonly Received[], index: number) => boolean = () => true,
): Promise<readonly (readonly Received[])[]> {
  const { connection } = await RawConnection.open(target)
  await using open = connection
  const end = new End(open)
  const answers: (readonly Received[])[] = []
  for (const [index, step] of steps.entries()) {
    const received = await end.take(step)
    answers.push(received)
    if (!goesOn(received, index)) break
  }
  return answers
}

/** That many steps of a random client, and the Sync behind them. */
export function randomSteps(seed: number, count: number): readonly RandomStep[] {
  const client = new RandomClient(seed)
  return [...Array.from({ length: count }, () => client.step()), client.end()]
}
