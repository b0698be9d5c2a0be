// A program that imports the package.
import * as client from '@fleetshard/client'
import * as kysely from '@fleetshard/client/kysely'
import { work } from './work.cjs'

process.stdout.write(JSON.stringify(await work(client, kysely, JSON.parse(process.argv[2]))))
