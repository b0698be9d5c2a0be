import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeFolders } from './make-folders.ts'

let root = ''
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'fleetshard-folders-'))
})
afterEach(() => {
  rmSync(root, { recursive: true, force: true })
})

test('makes what is missing and tells where it began', () => {
  const path = join(root, 'a', 'b', 'c')
  expect(makeFolders(path, 0o700)).toBe(join(root, 'a'))
  expect(statSync(join(root, 'a', 'b')).mode & 0o777).toBe(0o700)
  expect(makeFolders(path)).toBeNull()
  expect(makeFolders(join(root, 'a', 'd'))).toBe(join(root, 'a', 'd'))
})

test('fails below a file, and where the file system makes no folders', () => {
  writeFileSync(join(root, 'file'), '')
  expect(() => makeFolders(join(root, 'file', 'a'))).toThrow(/ENOTDIR|EEXIST/)
  expect(() => makeFolders('/dev/null/a')).toThrow(/ENOTDIR|EEXIST/)
})

test.runIf(process.platform === 'linux')('fails in /proc instead of trying for ever', () => {
  expect(() => makeFolders('/proc/fleetshard/a')).toThrow('ENOENT')
})
