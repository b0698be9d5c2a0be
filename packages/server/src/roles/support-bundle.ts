// `fleetshard support-bundle`: one file with all that helps to find out what is wrong, without secrets and rows.
import { open } from 'node:fs/promises'
import { resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { FleetError } from '@fleetshard/core'
import { EXIT, type CommandContext, type ExitCode } from '../cli/mod.ts'
import { formatBytes } from '../runtime/mod.ts'
import { collect } from './support-bundle/collect.ts'
import { tarOf } from './support-bundle/tar.ts'

const linesDefault = 2_000
const linesMax = 100_000

/** Writes it; never over a file that is there. Prints the path. */
export async function runSupportBundle(context: CommandContext): Promise<ExitCode> {
  const { options, clock, cwd, terminal } = context
  const nowMs = clock.now()
  const time = new Date(nowMs).toISOString().replaceAll(/[-:]|\.\d+/g, '')
  const folder = `fleetshard-support-${time}`
  const path = resolve(cwd, options.text('file') ?? `${folder}.tar.gz`)
  const { files, missing } = await collect(context, options.int('lines', 0, linesMax) ?? linesDefault)
  const placed = files.map((file) => ({ ...file, path: `${folder}/${file.path}` }))
  const bytes = gzipSync(tarOf(placed, nowMs))
  await write(path, bytes)
  for (const { part, reason } of missing) terminal.err(`left out: ${part}: ${reason}\n`)
  terminal.err(
    `${String(files.length)} files, ${formatBytes(bytes.length)}; look through it before you give it away\n`,
  )
  terminal.out(`${path}\n`)
  return EXIT.ok
}

async function write(path: string, bytes: Buffer): Promise<void> {
  try {
    await using file = await open(path, 'wx', 0o600)
    await file.writeFile(bytes)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'an error'
    throw new FleetError('invalid_usage', `${path} cannot be written: ${code}`, {
      hint: code === 'EEXIST' ? 'name another --file: a file that is there is kept' : 'name another --file',
      cause: error,
    })
  }
}
