import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { declarationFile, flatten } from './flatten.ts'

/** The flat file of `mod.d.ts` among those files; the package `own` is `own.d.ts`. */
function flat(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'fleetshard-flatten-'))
  onTestFinished(() => {
    rmSync(folder, { recursive: true, force: true })
  })
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  return declarationFile(flatten(join(folder, 'mod.d.ts'), new Map([['own', join(folder, 'own.d.ts')]])))
}

test('what is exported comes with its comment and what it mentions, from any of the packages, and nothing else', () => {
  const text = flat({
    'mod.d.ts': `export { make } from './make.ts';\nexport type { Shape } from 'own';`,
    'make.d.ts': `import type { Other } from 'registry';\nimport type { Shape } from 'own';
/** Makes one. */
export declare function make(from: Inner, other: Other): Shape;
interface Inner { readonly a: string }
export declare function unused(): void;`,
    'own.d.ts': `export * from './shape.ts';`,
    'shape.d.ts': `/** A shape. */\nexport interface Shape { readonly sides: number }`,
  })
  expect(text).toBe(`import type { Other } from 'registry'
/**
 * Makes one.
 */
declare function make(from: Inner, other: Other): Shape;
/**
 * A shape.
 */
interface Shape { readonly sides: number }
interface Inner { readonly a: string }
export { make, Shape }
`)
})

test('what it cannot put into one file without changing its meaning is an error', () => {
  const twice = {
    'mod.d.ts': `export { a } from './a.ts';\nexport { b } from './b.ts';`,
    'a.d.ts': `interface Parts { readonly a: string }\nexport declare const a: Parts;`,
    'b.d.ts': `interface Parts { readonly b: string }\nexport declare const b: Parts;`,
  }
  expect(() => flat(twice)).toThrow(/Parts is declared in .*a\.d\.ts and in .*b\.d\.ts/)
  const renamed = {
    'mod.d.ts': `export { a as z } from './a.ts';`,
    'a.d.ts': `export declare const a: string;`,
  }
  expect(() => flat(renamed)).toThrow('renames a to z')
  const lazy = { 'mod.d.ts': `export declare const a: import('own').Shape;`, 'own.d.ts': '' }
  expect(() => flat(lazy)).toThrow('import type')
})
