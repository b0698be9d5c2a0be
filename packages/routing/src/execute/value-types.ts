// The built-in types of Postgres by OID (src/include/catalog/pg_type.dat): their names, and what their text form means to a
// client. The router writes JSON by it, direct mode makes values by it. Types that are not listed are text.

/** What the text of a value is as JSON. */
export type JsonForm = 'string' | 'number' | 'float' | 'int8' | 'boolean' | 'json' | 'bytea'

interface BuiltIn {
  readonly name: string
  readonly form: JsonForm
  /** OID of its array type. */
  readonly array: number
}

const BUILT_INS: Readonly<Record<number, BuiltIn>> = {
  16: { name: 'bool', form: 'boolean', array: 1000 },
  17: { name: 'bytea', form: 'bytea', array: 1001 },
  18: { name: 'char', form: 'string', array: 1002 },
  19: { name: 'name', form: 'string', array: 1003 },
  20: { name: 'int8', form: 'int8', array: 1016 },
  21: { name: 'int2', form: 'number', array: 1005 },
  23: { name: 'int4', form: 'number', array: 1007 },
  25: { name: 'text', form: 'string', array: 1009 },
  26: { name: 'oid', form: 'number', array: 1028 },
  114: { name: 'json', form: 'json', array: 199 },
  700: { name: 'float4', form: 'float', array: 1021 },
  701: { name: 'float8', form: 'float', array: 1022 },
  790: { name: 'money', form: 'string', array: 791 },
  829: { name: 'macaddr', form: 'string', array: 1040 },
  869: { name: 'inet', form: 'string', array: 1041 },
  650: { name: 'cidr', form: 'string', array: 651 },
  705: { name: 'unknown', form: 'string', array: 0 },
  1042: { name: 'bpchar', form: 'string', array: 1014 },
  1043: { name: 'varchar', form: 'string', array: 1015 },
  1082: { name: 'date', form: 'string', array: 1182 },
  1083: { name: 'time', form: 'string', array: 1183 },
  1114: { name: 'timestamp', form: 'string', array: 1115 },
  1184: { name: 'timestamptz', form: 'string', array: 1185 },
  1186: { name: 'interval', form: 'string', array: 1187 },
  1266: { name: 'timetz', form: 'string', array: 1270 },
  1560: { name: 'bit', form: 'string', array: 1561 },
  1562: { name: 'varbit', form: 'string', array: 1563 },
  1700: { name: 'numeric', form: 'string', array: 1231 },
  2249: { name: 'record', form: 'string', array: 2287 },
  2278: { name: 'void', form: 'string', array: 0 },
  2950: { name: 'uuid', form: 'string', array: 2951 },
  3220: { name: 'pg_lsn', form: 'string', array: 3221 },
  3614: { name: 'tsvector', form: 'string', array: 3643 },
  3615: { name: 'tsquery', form: 'string', array: 3645 },
  3802: { name: 'jsonb', form: 'json', array: 3807 },
  4072: { name: 'jsonpath', form: 'string', array: 4073 },
  3904: { name: 'int4range', form: 'string', array: 3905 },
  3906: { name: 'numrange', form: 'string', array: 3907 },
  3908: { name: 'tsrange', form: 'string', array: 3909 },
  3910: { name: 'tstzrange', form: 'string', array: 3911 },
  3912: { name: 'daterange', form: 'string', array: 3913 },
  3926: { name: 'int8range', form: 'string', array: 3927 },
}

/** What is known of a type. `element` is the OID of the elements, for arrays. */
export interface TypeShape {
  readonly name: string
  readonly form: JsonForm
  readonly element: number | null
}

const SHAPES = new Map<number, TypeShape>()
for (const [oid, type] of Object.entries(BUILT_INS)) {
  SHAPES.set(Number(oid), { name: type.name, form: type.form, element: null })
  if (type.array !== 0)
    SHAPES.set(type.array, { name: `${type.name}[]`, form: 'string', element: Number(oid) })
}

/** The shape of a type; one that is not built in is text named `oid:N`. */
export function typeShape(oid: number): TypeShape {
  return SHAPES.get(oid) ?? { name: `oid:${String(oid)}`, form: 'string', element: null }
}
