// Statements put together at random over two sharded tables of one key type and a reference table, with the joins,
// subqueries, WITH queries and comparisons that a key may travel through, and those that it may not.

/** The key types that are tried: their tables `a_…` (key `k`), `b_…` (key `owner`) and `r_…` (no key), and literals. */
export const FAMILIES = {
  text: { type: 'varchar(6)', keyType: 'text', cast: 'text', keys: ['k1', 'k2', 'k3', 'K1', '042', 'é'] },
  int8: { type: 'int8', keyType: 'int8', cast: 'int8', keys: ['1', '2', '-3', '42', '99999999999', '0'] },
  int4: { type: 'int4', keyType: 'int4', cast: 'int4', keys: ['1', '2', '-3', '42', '7', '8'] },
  uuid: {
    type: 'uuid',
    keyType: 'uuid',
    cast: 'uuid',
    keys: ['1', '2', '3', '4', '5', '6'].map((digit) => `a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1${digit}`),
  },
  bytea: {
    type: 'bytea',
    keyType: 'bytea',
    cast: 'bytea',
    keys: ['00ff', '01', '0203', 'deadbeef', '27', '5c'].map((hex) => String.raw`\x${hex}`),
  },
} as const
/** One of the key types. */
export type Family = keyof typeof FAMILIES

/** The tables of all families. */
export const queriesSchema = Object.entries(FAMILIES)
  .map(
    ([name, { type }]) => `
  create table a_${name} (k ${type} not null, x int, y text);
  create table b_${name} (owner ${type} not null, x int, y text);
  create table r_${name} (k ${type}, x int, y text);`,
  )
  .join('')

/** Rows as [table, key, x, y]. */
export function* queriesRows(): Generator<readonly [string, string, number, string]> {
  for (const [name, { keys }] of Object.entries(FAMILIES)) {
    for (const [index, key] of keys.entries()) {
      for (let row = 0; row <= (index * 7) % 4; row += 1) {
        yield [`a_${name}`, key, (index + row) % 4, `y${String(row)}`]
        if (index !== 3) yield [`b_${name}`, key, (index * row) % 3, `y${String(index % 3)}`]
      }
      if (index < 4) yield [`r_${name}`, key, index % 3, `y${String(index)}`]
    }
  }
}

/** A table or subquery that columns can be taken from. */
interface Item {
  readonly alias: string
  /** The column that holds keys; null where none does. */
  readonly key: string | null
}

const depthMax = 3

/** Makes statements; the same seed makes the same one. */
export class QueryMaker {
  readonly #family: Family
  #state: number
  #aliases = 0
  /** Most comparisons are with this key, so that many statements lie on one shard. */
  readonly #focus: string

  constructor(seed: number, family: Family) {
    this.#state = (seed + family.charCodeAt(0) * 31 + family.length) | 0
    this.#family = family
    this.#focus = this.#pick(FAMILIES[family].keys)
  }

  /** A statement that reads, or one in six that writes. */
  statement(): string {
    return this.#below(6) === 0 ? this.#write() : this.#query([], depthMax)
  }

  #next(): number {
    // mulberry32
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return (mixed ^ (mixed >>> 14)) >>> 0
  }

  #below(bound: number): number {
    return this.#next() % bound
  }

  #pick<T>(items: readonly [T, ...T[]] | readonly T[]): T {
    const item = items[this.#below(items.length)]
    if (item === undefined) throw new Error('nothing to choose from')
    return item
  }

  #chance(percent: number): boolean {
    return this.#below(100) < percent
  }

  #alias(): string {
    this.#aliases += 1
    return this.#chance(4) ? 'a' : `t${String(this.#aliases)}`
  }

  #key(): string {
    return this.#chance(75) ? this.#focus : this.#pick(FAMILIES[this.#family].keys)
  }

  /** A literal for a key, in one of the ways it can be written. */
  #literal(): string {
    const key = this.#key()
    const { cast } = FAMILIES[this.#family]
    const quoted = `'${key}'`
    const isNumber = cast.startsWith('int')
    const forms = [quoted, `${quoted}::${cast}`, `(${quoted})`, `${cast} ${quoted}`]
    if (isNumber) forms.push(key, key, `(${key})`, `${key}::int8`)
    if (cast === 'text') forms.push(`E${quoted}`, `$q$${key}$q$`, `${quoted}::varchar`)
    return this.#pick(forms)
  }

  #literals(): string {
    return Array.from({ length: 1 + this.#below(3) }, () => this.#literal()).join(', ')
  }

  #column({ alias, key }: Item): string {
    if (key === null) return `${alias}.x`
    return this.#chance(85) ? `${alias}.${key}` : key
  }

  /** What a key is compared with. */
  #predicate(items: readonly Item[], depth: number): string {
    const item = this.#pick(items)
    const left = item.key === null ? `${item.alias}.x` : this.#column(item)
    if (item.key === null) return `${item.alias}.x = ${String(this.#below(3))}`
    const second = this.#pick(items)
    const tied = `${left} = ${second.alias}.${second.key ?? 'x'}`
    const { cast } = FAMILIES[this.#family]
    const forms = [
      () => (this.#chance(50) ? `${left} = ${this.#literal()}` : `${this.#literal()} = ${left}`),
      () => (this.#chance(50) ? `${left} = ${this.#literal()}` : tied),
      () => tied,
      () => `${left} in (${this.#literals()})`,
      () => `${left} = any(array[${this.#literals()}]::${cast}[])`,
      () => `(${left}, ${item.alias}.x) = (${this.#literal()}, ${String(this.#below(3))})`,
      () => `(${left} = ${this.#literal()} or ${left} = ${this.#literal()})`,
      () => this.#loose(item, left),
    ]
    if (depth > 0)
      forms.push(
        () => this.#subquery(items, left, depth),
        () => this.#subquery(items, left, depth),
      )
    return this.#pick(forms)()
  }

  /** Comparisons that say nothing certain of the key. */
  #loose({ alias }: Item, left: string): string {
    return this.#pick([
      `(${left} = ${this.#literal()} or ${alias}.x = 1)`,
      `not ${left} = ${this.#literal()}`,
      `${left} between ${this.#literal()} and ${this.#literal()}`,
      `${left} is not distinct from ${this.#literal()}`,
      `coalesce(${left}, ${this.#literal()}) = ${this.#literal()}`,
      `${left} <> ${this.#literal()}`,
    ])
  }

  #subquery(items: readonly Item[], left: string, depth: number): string {
    const not = this.#chance(15) ? 'not ' : ''
    switch (this.#below(4)) {
      case 0:
        return `${not}exists (${this.#query(items, depth - 1)})`
      case 1:
        return `${left} ${not}in (${this.#keys(items, depth - 1)})`
      case 2:
        return `${left} = (${this.#keys(items, depth - 1)} order by 1 limit 1)`
      default:
        return `${left} = (select max(q.k) from (${this.#keys(items, depth - 1)}) q(k))`
    }
  }

  /** A query of one column of keys. */
  #keys(outer: readonly Item[], depth: number): string {
    const { from, items } = this.#from(outer, depth)
    const keyed = items.find(({ key }) => key !== null)
    if (keyed === undefined) return `select ${this.#literal()}::${FAMILIES[this.#family].cast}`
    const distinct = this.#chance(15) ? 'distinct ' : ''
    return `select ${distinct}${keyed.alias}.${keyed.key ?? ''} from ${from}${this.#where(items, outer, depth)}`
  }

  #where(items: readonly Item[], outer: readonly Item[], depth: number): string {
    const seen = this.#chance(40) ? [...items, ...outer] : items
    const terms = Array.from({ length: this.#below(3) }, () => this.#predicate(seen, depth))
    const keyed = items.filter(({ key }) => key !== null)
    if (keyed.length > 0 && this.#chance(50)) {
      const { alias, key } = this.#pick(keyed)
      terms.push(`${alias}.${key ?? ''} = ${this.#literal()}`)
    }
    return terms.length === 0 ? '' : ` where ${terms.join(' and ')}`
  }

  #from(outer: readonly Item[], depth: number): { from: string; items: Item[] } {
    const first = this.#item(outer, depth)
    let from = first.text
    const items = [first.item]
    for (let count = this.#below(3); count > 0; count -= 1) {
      const lateral = this.#chance(20) && depth > 0
      const next = lateral ? this.#lateral([...items, ...outer], depth) : this.#item(outer, depth)
      const [one, other] = [this.#pick(items), next.item]
      const on = this.#on(one, other, items)
      const kinds = lateral
        ? ['join', 'left join', 'join']
        : ['join', 'join', 'left join', 'right join', 'full join']
      const isShared =
        one.key === 'k' && other.key === 'k' && items.filter(({ key }) => key === 'k').length === 1
      if (isShared && this.#chance(20)) from += ` ${this.#pick(kinds)} ${next.text} using (k)`
      else
        from +=
          this.#chance(15) && !lateral ? `, ${next.text}` : ` ${this.#pick(kinds)} ${next.text} on ${on}`
      items.push(other)
    }
    return { from, items }
  }

  #on(one: Item, other: Item, items: readonly Item[]): string {
    const { alias } = other
    const tied = `${one.alias}.${one.key ?? 'x'} = ${alias}.${other.key ?? 'x'}`
    if ((one.key === null) !== (other.key === null)) return `${one.alias}.x = ${alias}.x`
    switch (this.#below(8)) {
      case 0:
        return `${one.alias}.x = ${alias}.x`
      case 1:
        return this.#predicate([other], 0)
      case 2:
        return `${tied} and ${this.#predicate([...items, other].slice(-2), 0)}`
      default:
        return tied
    }
  }

  #table(): { name: string; key: string | null } {
    const family = this.#family
    return this.#pick([
      { name: `a_${family}`, key: 'k' },
      { name: `a_${family}`, key: 'k' },
      { name: `b_${family}`, key: 'owner' },
      { name: `b_${family}`, key: 'owner' },
      { name: `r_${family}`, key: 'k' },
    ])
  }

  #item(outer: readonly Item[], depth: number): { text: string; item: Item } {
    const alias = this.#alias()
    if (depth === 0 || this.#chance(65)) {
      const { name, key } = this.#table()
      return { text: `${name} ${alias}`, item: { alias, key } }
    }
    return this.#derived(alias, outer, depth)
  }

  /** A subquery in FROM, which does not see what stands beside it. */
  #derived(alias: string, outer: readonly Item[], depth: number): { text: string; item: Item } {
    const key = this.#pick(['k', 'owner', 'z'])
    const item = { alias, key }
    const renamed = `${alias}(${key}, x, y)`
    const { cast } = FAMILIES[this.#family]
    switch (this.#below(9)) {
      case 0:
        return { text: `(values (${this.#literal()}::${cast}, 1, 'y1')) ${renamed}`, item }
      case 1:
        return {
          text: `(values (${this.#literal()}::${cast}, 1, 'y1'), (${this.#literal()}::${cast}, 2, 'y2')) ${renamed}`,
          item,
        }
      case 2: {
        const branch = (): string => this.#rows(outer, depth - 1)
        return {
          text: `(${branch()} ${this.#pick(['union', 'union all', 'except', 'intersect'])} ${branch()}) ${renamed}`,
          item,
        }
      }
      case 3: {
        const { name, key: own } = this.#table()
        return { text: `(select * from ${name}) ${alias}`, item: { alias, key: own } }
      }
      case 4:
        return { text: `(${this.#rows(outer, depth - 1)} order by 1, 2, 3 limit 3) ${renamed}`, item }
      case 5: {
        const { name, key: own } = this.#table()
        const grouped = this.#pick([`${own ?? 'x'}`, `${own ?? 'x'}, x`])
        return {
          text: `(select ${own ?? 'x'}, count(*)::int, max(y) from ${name} group by ${grouped}) ${renamed}`,
          item,
        }
      }
      default:
        return { text: `(${this.#rows(outer, depth - 1)}) ${renamed}`, item }
    }
  }

  #lateral(seen: readonly Item[], depth: number): { text: string; item: Item } {
    const alias = this.#alias()
    const limit = this.#chance(20) ? ' order by 1, 2, 3 limit 2' : ''
    const text = `lateral (${this.#rows(seen, depth - 1)}${limit}) ${alias}(k, x, y)`
    return { text, item: { alias, key: 'k' } }
  }

  /** A query of a key, x and y. */
  #rows(outer: readonly Item[], depth: number): string {
    const { from, items } = this.#from(outer, depth)
    const keyed = this.#pick(items)
    const { alias, key } = keyed
    const column = key === null ? `${this.#literal()}::${FAMILIES[this.#family].cast}` : `${alias}.${key}`
    const distinct = this.#chance(10) ? 'distinct ' : ''
    return `select ${distinct}${column}, ${alias}.x, ${alias}.y from ${from}${this.#where(items, outer, depth)}`
  }

  #query(outer: readonly Item[], depth: number): string {
    if (depth > 0 && this.#chance(12)) return this.#with(outer, depth)
    if (depth > 0 && this.#chance(6)) {
      return `${this.#rows(outer, depth - 1)} union all ${this.#rows(outer, depth - 1)}`
    }
    const { from, items } = this.#from(outer, depth)
    const where = this.#where(items, outer, depth)
    const columns = items.map((item) => `${item.alias}.${item.key ?? 'x'}, ${item.alias}.y`).join(', ')
    switch (this.#below(6)) {
      case 0:
        return `select count(*), sum(${items[0]?.alias ?? ''}.x) from ${from}${where}`
      case 1: {
        const { alias, key } = this.#pick(items)
        return `select ${alias}.${key ?? 'x'}, count(*) from ${from}${where} group by ${alias}.${key ?? 'x'}`
      }
      case 2: {
        const { alias, key } = this.#pick(items)
        const inner = depth > 0 ? `, (select count(*) from (${this.#rows([...items, ...outer], 0)}) q)` : ''
        return `select ${alias}.${key ?? 'x'}${inner} from ${from}${where}`
      }
      default:
        return `select ${columns} from ${from}${where}`
    }
  }

  #with(outer: readonly Item[], depth: number): string {
    const name = this.#chance(30) ? `a_${this.#family}` : 'w'
    const recursive = this.#chance(10) ? 'recursive ' : ''
    const inner = this.#rows([], depth - 1)
    const items = [{ alias: 'p', key: 'k' }, ...(this.#chance(40) ? [{ alias: 'q', key: 'k' }] : [])]
    const from = items.map(({ alias }) => `${name} ${alias}`).join(', ')
    const body = `select p.k, p.x, p.y from ${from}${this.#where(items, outer, depth - 1)}`
    return `with ${recursive}${name}(k, x, y) as (${inner}) ${body}`
  }

  #write(): string {
    const family = this.#family
    const from = this.#from([], 1)
    const target = { alias: 'u', key: 'k' }
    const items = [target, ...from.items]
    const where = this.#where(items, [], 1)
    const others = this.#where([target], [], 2)
    const rows = this.#rows([], 1)
    switch (this.#below(8)) {
      case 0:
        return `update a_${family} u set x = u.x + 1 from ${from.from}${where} returning u.k, u.x`
      case 1:
        return `delete from a_${family} u using ${from.from}${where} returning u.k, u.x`
      case 2:
        return `update a_${family} u set x = u.x + 1${others}`
      case 3:
        return `delete from a_${family} u${others} returning *`
      case 4:
        return `insert into a_${family} (k, x, y) values (${this.#literal()}, 9, 'n'), (${this.#literal()}, 8, 'n')`
      case 5:
        return `insert into a_${family} (k, x, y) ${rows} returning k, x`
      case 6:
        return `with d as (delete from a_${family} u${others} returning k, x) select * from d, ${from.from}${this.#where([{ alias: 'd', key: 'k' }, ...from.items], [], 0)}`
      default: {
        const source = this.#item([], 1)
        const by = this.#chance(20) ? 'when not matched by source then delete' : ''
        return `merge into a_${family} u using ${source.text} on u.k = ${source.item.alias}.${source.item.key ?? 'x'}${this.#chance(50) ? ` and u.k = ${this.#literal()}` : ''} when matched then update set x = 7 when not matched then insert (k, x) values (${this.#chance(50) ? `${source.item.alias}.${source.item.key ?? 'x'}` : this.#literal()}, 5) ${by}`
      }
    }
  }
}
