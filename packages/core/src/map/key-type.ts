// The type of a key that comes without its table's name.
import type { KeyType, TableRecord } from '../model.ts'

const WIDTH: Readonly<Partial<Record<KeyType, number>>> = { int2: 2, int4: 4, int8: 8 }

/**
 * The sharded tables' common key type: the widest for integers, since they are placed alike in every width; `text`
 * when no table is sharded; null when they differ.
 */
export function commonKeyType(tables: readonly TableRecord[]): KeyType | null {
  let common: KeyType | null = null
  for (const table of tables) {
    if (table.kind !== 'sharded' || table.keyType === null || table.keyType === common) continue
    const width = WIDTH[table.keyType]
    const commonWidth = common === null ? undefined : WIDTH[common]
    if (common === null) common = table.keyType
    else if (width === undefined || commonWidth === undefined) return null
    else if (width > commonWidth) common = table.keyType
  }
  return common ?? 'text'
}
