// A program that requires the package.
const client = require('@fleetshard/client')
const kysely = require('@fleetshard/client/kysely')
const { work } = require('./work.cjs')

void work(client, kysely, JSON.parse(process.argv[2])).then((told) => {
  process.stdout.write(JSON.stringify(told))
})
