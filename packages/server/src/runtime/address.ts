// Where a client of a server is.

/** The address of the other end: of a proxy, where there is one between. IPv4 in its own form. */
export const addressOf = ({
  socket,
}: {
  readonly socket: { readonly remoteAddress?: string | undefined }
}): string => (socket.remoteAddress ?? '').replace(/^::ffff:/, '')
