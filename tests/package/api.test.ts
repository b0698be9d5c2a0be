// The public API of the client: whoever changes it sees here what others will have to change.
import { expect, it } from 'vitest'
import { flatClient } from '../../tools/client/package.ts'
import { withoutComments } from '../../tools/client/flatten.ts'
import { root } from '../e2e/harness/paths.ts'

it('is what client-api.txt says; write it anew with -u when the change is meant', async () => {
  const { client, kysely } = flatClient(root)
  const shown = [client, kysely].map(({ declarations }) =>
    declarations
      .filter(({ exported }) => exported)
      .map(({ text }) => withoutComments(text))
      .join('\n'),
  )
  await expect(`${shown.join('\n\n')}\n`).toMatchFileSnapshot('client-api.txt')
})
