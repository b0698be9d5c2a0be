// An ErrorResponse of a server in words of the client that it is told to: bytes, of which single fields are changed.
import { messageHeaderBytes } from '@fleetshard/routing/pgwire'

const serverNamePrefix = '"fw_'
const positionField = 0x50

/** Some errors name the statement: clients know nothing of the names that servers have for them. */
export function inClientsNames(error: Buffer, nameOf: (serverName: string) => string | null): Buffer {
  if (!error.includes(serverNamePrefix)) return error
  const fields = error.toString('latin1', messageHeaderBytes)
  const said = fields.replaceAll(/"(fw_\d+)"/g, (quoted, name: string) => {
    const own = nameOf(name)
    return own === null ? quoted : `"${Buffer.from(own).toString('latin1')}"`
  })
  return withFields(error, Buffer.from(said, 'latin1'))
}

/** With another place in the statement, where it names one and another is known. */
export function movePosition(error: Buffer, moved: (position: number) => number | null): Buffer {
  for (let at = messageHeaderBytes; at < error.length && error[at] !== 0;) {
    const end = error.indexOf(0, at + 1)
    if (end < 0) return error
    if (error[at] === positionField) {
      const position = moved(Number(error.toString('latin1', at + 1, end)))
      if (position === null) return error
      const digits = Buffer.from(String(position), 'latin1')
      const fields = [error.subarray(messageHeaderBytes, at + 1), digits, error.subarray(end)]
      return withFields(error, Buffer.concat(fields))
    }
    at = end + 1
  }
  return error
}

function withFields(error: Buffer, fields: Buffer): Buffer {
  const bytes = Buffer.concat([error.subarray(0, messageHeaderBytes), fields])
  bytes.writeInt32BE(bytes.length - 1, 1)
  return bytes
}
