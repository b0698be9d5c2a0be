// The versions of a topology file that one process takes, one after the other: each under a higher epoch than the one
// before, and none under which rows would be looked for where they are not.
import { FleetError } from '../errors/fleet-error.ts'
import { parseEpoch, type Epoch } from '../ids.ts'
import { parseTopologyFile, type Topology } from './read.ts'
import { ServedPlacement } from './served-placement.ts'

/** A file as it was read. */
export interface FileVersion {
  readonly path: string
  readonly text: string
  /** When it was last changed, by its file system's clock. */
  readonly changedAtMs: number
}

/** A memory of one process. */
export class TopologyVersions {
  readonly #served = new ServedPlacement()
  #epoch: Epoch | null = null

  /** What that version says; it is served from then on. @throws FleetError `invalid_config` */
  take(version: FileVersion): Topology {
    const epoch = epochOf(version, this.#epoch)
    const topology = parseTopologyFile(version.text, { name: version.path, epoch })
    const refusal = this.#served.refusal(topology.snapshot)
    if (refusal !== null) throw refused(version.path, refusal)
    this.#served.serve(topology.snapshot)
    this.#epoch = epoch
    return topology
  }
}

/**
 * The time of the file's last change, in seconds: processes that read copies of one file agree on which of two versions
 * is the newer, also across restarts. Never lower than, or equal to, the one before.
 */
function epochOf({ changedAtMs }: FileVersion, before: Epoch | null): Epoch {
  return parseEpoch(Math.max(1, Math.floor(changedAtMs / 1000), (before ?? 0) + 1))
}

function refused(path: string, why: string): FleetError {
  return new FleetError(
    'invalid_config',
    `${path} changes where rows are looked for, and nothing has moved them: ${why}`,
    {
      hint:
        'put the file back; to change placement, stop writes, move the rows, and restart all routers with the new ' +
        'file, or give the keyspace a new name',
    },
  )
}
