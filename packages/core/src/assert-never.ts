/** Marks a branch that the types say can't be reached; reaching it means data got past a parser. */
export function assertNever(value: never): never {
  throw new Error(`unexpected value: ${JSON.stringify(value)}`)
}
