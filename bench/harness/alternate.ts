// Runs variants in turn, round after round, so that a machine whose speed drifts treats them alike; figures are
// medians over the rounds, ratios medians of the ratios within a round.
import { median, type Run } from './report.ts'

/** Something to be measured. */
export interface Variant {
  readonly name: string
  /** Measures once. */
  run(clients: number): Promise<Run>
}

/** All rounds of all variants with one number of clients. */
export interface Rounds {
  readonly clients: number
  /** By variant, one run a round. */
  readonly runs: ReadonlyMap<string, readonly Run[]>
}

/** Measures the variants in turn; the order is turned around every other round. */
export async function alternate(
  variants: readonly Variant[],
  clients: number,
  rounds: number,
  onRun: (run: Run) => void,
): Promise<Rounds> {
  const runs = new Map<string, Run[]>(variants.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round += 1) {
    const order = round % 2 === 0 ? variants : variants.toReversed()
    for (const variant of order) {
      const run = await variant.run(clients)
      runs.get(variant.name)?.push(run)
      onRun(run)
    }
  }
  return { clients, runs }
}

/** The run with the median throughput of each variant. */
export function medianRuns({ runs }: Rounds): Run[] {
  return [...runs.values()].map((list) => {
    const middle = median(list.map(({ ops_per_s }) => ops_per_s))
    const run = list.find(({ ops_per_s }) => ops_per_s === middle)
    if (run === undefined) throw new Error('a variant was not measured')
    return run
  })
}

/** Median over the rounds of `figure(variant) / figure(peer)`. */
export function ratio({ runs }: Rounds, variant: string, peer: string, figure: (run: Run) => number): number {
  return median(pairs(runs, variant, peer).map(([one, other]) => figure(one) / figure(other)))
}

/** Median over the rounds of `figure(variant) - figure(peer)`. */
export function difference(
  { runs }: Rounds,
  variant: string,
  peer: string,
  figure: (run: Run) => number,
): number {
  return median(pairs(runs, variant, peer).map(([one, other]) => figure(one) - figure(other)))
}

function pairs(runs: Rounds['runs'], variant: string, peer: string): [Run, Run][] {
  const others = runs.get(peer) ?? []
  return (runs.get(variant) ?? []).flatMap((run, index) => {
    const other = others[index]
    return other === undefined ? [] : [[run, other] as [Run, Run]]
  })
}
