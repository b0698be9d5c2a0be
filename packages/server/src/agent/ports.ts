// Ports for servers: from a start upwards, below the range that the system gives to outgoing connections, none
// twice, none that somebody listens on now. A port may still be lost between look and use: the start tells.
import { createServer } from 'node:net'
import { FleetError } from '@fleetshard/core'

/** First port of servers unless told otherwise. */
export const portStartDefault = 15432
/** Outgoing connections take their ports from 32768 on. */
export const portMax = 32767

/** Gives each port to one server only. */
export class PortAllocator {
  readonly #start: number
  readonly #address: string
  readonly #taken = new Set<number>()

  /** @param address that the servers listen on @throws FleetError `invalid_config` */
  constructor(start: number, address: string) {
    if (!Number.isSafeInteger(start) || start < 1024 || start > portMax) {
      throw new FleetError('invalid_config', `servers cannot get ports from ${String(start)} on`, {
        hint: `a port from 1024 to ${String(portMax)}`,
      })
    }
    this.#start = start
    this.#address = address
  }

  /** Keeps the port for a server that has it already. */
  reserve(port: number): void {
    this.#taken.add(port)
  }

  release(port: number): void {
    this.#taken.delete(port)
  }

  /** The next port that is free, reserved. @throws FleetError `port_taken` when there is none left */
  async allocate(): Promise<number> {
    for (let port = this.#start; port <= portMax; port++) {
      if (this.#taken.has(port)) continue
      this.#taken.add(port)
      if (await isFree(this.#address, port)) return port
      this.#taken.delete(port)
    }
    throw new FleetError('port_taken', `no port from ${String(this.#start)} to ${String(portMax)} is free`)
  }
}

/** True when nobody listens on that port of the address. */
function isFree(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => {
      resolve(false)
    })
    server.listen({ host: address, port, exclusive: true }, () => {
      server.close(() => {
        resolve(true)
      })
    })
  })
}
