// What the agent keeps about its servers: one JSON file, replaced atomically, written before each effect.
import { Value } from 'typebox/value'
import { Type, type Static } from 'typebox'
import { FleetError } from '@fleetshard/core'
import { DesiredSchema, ServerIdSchema, SyncStandbysSchema } from '../agent-api/mod.ts'
import { readTextIfAny, writeFileAtomic } from './files.ts'

/** Where the making and unmaking of a server stand; `creating` and `dropping` go on after a crash. */
const PhaseSchema = Type.Union([Type.Literal('creating'), Type.Literal('ready'), Type.Literal('dropping')])

const RecordSchema = Type.Object({
  id: ServerIdSchema,
  kind: Type.Union([Type.Literal('primary'), Type.Literal('replica')]),
  of: Type.Union([ServerIdSchema, Type.Null()]),
  /** Where `of` is, when another agent runs it. */
  upstream: Type.Optional(
    Type.Union([
      Type.Object({ agent: Type.String(), host: Type.String(), port: Type.Integer() }),
      Type.Null(),
    ]),
  ),
  group: ServerIdSchema,
  database: Type.String(),
  desired: DesiredSchema,
  phase: PhaseSchema,
  port: Type.Integer(),
  term: Type.Integer(),
  /** Set: the upstream was taken away, and stays away over restarts. */
  detached: Type.Optional(Type.Boolean()),
  /** Set: it streams under a name that confirms no commits, until its history is known to be that of its upstream. */
  onProbation: Type.Optional(Type.Boolean()),
  /** Set while an order to promote it is carried out: files that are those of a primary are meant to be. */
  promoting: Type.Optional(Type.Boolean()),
  /** Absent or null: commits wait for no replica. */
  sync: Type.Optional(Type.Union([SyncStandbysSchema, Type.Null()])),
})

const FileSchema = Type.Object({
  version: Type.Literal(1),
  /** Major version of all servers; fixed by the first one. */
  major: Type.Union([Type.Integer(), Type.Null()]),
  servers: Type.Array(RecordSchema),
})

/** One server as it is kept. */
export type ServerRecord = Readonly<Static<typeof RecordSchema>>

/** The records in memory and on disk. Every change is on disk when its promise resolves. */
export class AgentState {
  readonly #path: string
  readonly #servers: Map<string, ServerRecord>
  #major: number | null
  #writing: Promise<void> = Promise.resolve()

  private constructor(path: string, file: Static<typeof FileSchema>) {
    this.#path = path
    this.#major = file.major
    this.#servers = new Map(file.servers.map((record) => [record.id, record]))
  }

  /** @throws FleetError `data_dir_unusable` when the file is not one of ours */
  static async load(path: string): Promise<AgentState> {
    const text = await readTextIfAny(path)
    if (text === null) return new AgentState(path, { version: 1, major: null, servers: [] })
    return new AgentState(path, parseFile(path, text))
  }

  get major(): number | null {
    return this.#major
  }

  records(): readonly ServerRecord[] {
    return [...this.#servers.values()]
  }

  get(id: string): ServerRecord | undefined {
    return this.#servers.get(id)
  }

  async setMajor(major: number): Promise<void> {
    if (this.#major === major) return
    this.#major = major
    await this.#save()
  }

  /** Adds or replaces. */
  async put(record: ServerRecord): Promise<void> {
    this.#servers.set(record.id, record)
    await this.#save()
  }

  async remove(id: string): Promise<void> {
    this.#servers.delete(id)
    await this.#save()
  }

  /** One writer at a time; each writes what is true when its turn comes. */
  async #save(): Promise<void> {
    const turn = this.#writing.then(async () => {
      const file = { version: 1, major: this.#major, servers: this.records() }
      await writeFileAtomic(this.#path, `${JSON.stringify(file, null, 2)}\n`, { mode: 0o644 })
    })
    this.#writing = turn.catch(() => undefined)
    await turn
  }
}

function parseFile(path: string, text: string): Static<typeof FileSchema> {
  let file: unknown
  try {
    file = JSON.parse(text)
  } catch {
    file = null
  }
  if (Value.Check(FileSchema, file)) return file
  throw new FleetError('data_dir_unusable', `${path} is not the state of an agent of this version`, {
    hint: 'restore the file, or choose another --data-dir',
  })
}
