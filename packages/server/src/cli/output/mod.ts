// What the command line prints: tables, JSON, YAML, colours.
export * from './style.ts'
export * from './width.ts'
export * from './table.ts'
export * from './yaml.ts'
export * from './render.ts'
