// Waiting on conditions: tests never sleep for a time and hope.

const pollMs = 20
const patienceMs = 60_000

/** Calls `look` until it gives something other than undefined or false. @throws with the last error after a minute */
export async function until<T>(
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
): Promise<T> {
  const deadline = performance.now() + patienceMs
  let last: unknown = null
  while (performance.now() < deadline) {
    try {
      const found = await look()
      if (found !== undefined && found !== false) return found
    } catch (error) {
      last = error
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs))
  }
  throw new Error(`gave up waiting until ${what}`, { cause: last })
}
