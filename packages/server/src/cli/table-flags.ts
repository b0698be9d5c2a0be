// The flags by which `table create` and `table declare` are told how tables are kept.
import type { Options } from './options.ts'
import type { TableFlags } from './schema-file.ts'
import type { FlagSpec } from './spec.ts'

/** See {@link tableFlagsOf}. */
export const tableFlags: readonly FlagSpec[] = [
  {
    flags: '--key <column>',
    doc: 'shard key: COLUMN, or TABLE=COLUMN; may be given several times',
    many: true,
  },
  { flags: '--reference <table>', doc: 'a table with all its rows on every shard', many: true },
  { flags: '--global <table>', doc: 'a table with all its rows on one shard', many: true },
]

/** What was given. */
export function tableFlagsOf(options: Options): TableFlags {
  return { keys: options.list('key'), reference: options.list('reference'), global: options.list('global') }
}
