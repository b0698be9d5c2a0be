// `fleetshard doctor`: looks at this machine and at the running fleet, and says what to do about what is wrong.
import { EXIT, toJson, toYaml, type CommandContext, type ExitCode } from '../cli/mod.ts'
import { dataDirOf } from '../runtime/mod.ts'
import { renderChecks, type Check } from './doctor/check.ts'
import { checkFleet } from './doctor/fleet.ts'
import { checkMachine } from './doctor/machine.ts'
import { liveCluster } from './running.ts'

/** Ends as `unhealthy` when a check has failed. */
export async function runDoctor(context: CommandContext): Promise<ExitCode> {
  const checks = await findings(context)
  print(context, checks)
  return checks.some(({ status }) => status === 'failed') ? EXIT.unhealthy : EXIT.ok
}

/** Everything that the doctor looks at. */
export async function findings(context: CommandContext): Promise<readonly Check[]> {
  const { config, cwd } = context
  const dataDir = dataDirOf(config, cwd)
  const state = await liveCluster(dataDir)
  const isFleetKnown = state !== null || config.isGiven('manager-url') || config.isGiven('router-url')
  return [
    ...(await checkMachine({ config, dataDir, clock: context.clock, state })),
    ...(isFleetKnown ? await checkFleet(context, state) : []),
  ]
}

function print({ output, terminal, style }: CommandContext, checks: readonly Check[]): void {
  const healthy = !checks.some(({ status }) => status === 'failed')
  if (output === 'json') terminal.out(toJson({ healthy, checks }))
  else if (output === 'yaml') terminal.out(toYaml({ healthy, checks }))
  else terminal.out(renderChecks(checks, style))
}
