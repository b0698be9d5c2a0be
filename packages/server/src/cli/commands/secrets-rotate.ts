// `secrets rotate`.
import type { SecretsRotation } from '@fleetshard/core/contract'
import type { View } from '../output/mod.ts'
import { printOne } from '../print.ts'
import { outputFlag, reasonFlag, type CommandSpec } from '../spec.ts'

const view: View<SecretsRotation> = {
  name: ({ key }) => key,
  columns: [
    { header: 'KEY', cell: ({ key }) => key, whole: true },
    { header: 'SEALED', cell: ({ sealed }) => String(sealed), align: 'right' },
    { header: 'UNCHANGED', cell: ({ unchanged }) => String(unchanged), align: 'right' },
  ],
}

/** `fleetshard secrets rotate`. */
export const secretsRotate: CommandSpec = {
  path: 'secrets rotate',
  permission: 'administer',
  summary: 'seal all passwords in the catalog with the first key of the manager',
  details:
    'First append the new key to the file of every process (secrets.key-file), then put it first in all of them, then ' +
    'call this; when it has ended, the old key can be taken out. Passwords that were not sealed yet are sealed as ' +
    'well. May be repeated.',
  user: 'cli',
  flags: [outputFlag, reasonFlag],
  examples: ['secrets rotate', 'secrets rotate --reason "yearly"'],
  run: async (context) => printOne(context, await context.admin.secrets.rotate(context.change), view),
}
