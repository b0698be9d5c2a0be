// `config show`: the settings in force and where each came from.
import { didYouMean, FleetError } from '@fleetshard/core'
import { CONFIG_KEYS, isConfigKey, type ConfigLine } from '../../runtime/mod.ts'
import type { View } from '../output/mod.ts'
import { printList } from '../print.ts'
import { outputFlag, type CommandSpec } from '../spec.ts'

const view: View<ConfigLine> = {
  name: (line) => line.key,
  columns: [
    { header: 'SETTING', cell: (line) => line.key, whole: true },
    { header: 'VALUE', cell: (line) => line.shown },
    {
      header: 'SOURCE',
      cell: (line) => line.source,
      paint: (line, style) => (line.source === 'default' ? style.dim : style.green),
    },
  ],
}

/** `fleetshard config show`. */
export const configShow: CommandSpec = {
  path: 'config show',
  permission: null,
  summary: 'print every setting, its value and where the value comes from',
  details: 'Passwords and tokens are not printed. Fails like any process would when a setting is not valid.',
  user: 'cli',
  args: [{ name: 'setting', doc: 'only this one', optional: true }],
  flags: [{ flags: '--changed', doc: 'only those that are not the default' }, outputFlag],
  examples: ['config show --config fleetshard.json', 'config show router.http-port'],
  run(context) {
    const { options, config } = context
    const wanted = options.argIfGiven(0)
    if (wanted !== undefined && !isConfigKey(wanted)) {
      throw new FleetError('not_found', `${wanted} is not a setting`, {
        hint: didYouMean(wanted, CONFIG_KEYS) ?? 'fleetshard config show lists them',
      })
    }
    const lines = config
      .lines()
      .filter(
        ({ key, source }) => (wanted ?? key) === key && !(options.isSet('changed') && source === 'default'),
      )
    return Promise.resolve(printList(context, lines, view, 'all settings have their defaults'))
  },
}
