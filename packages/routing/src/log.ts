// What this package needs of a logger; the server's own has it, and a client may give none.

/** Takes warnings: constant keys first, then a lowercase message. */
export interface RoutingLog {
  warn(fields: Readonly<Record<string, unknown>>, message: string): void
}
