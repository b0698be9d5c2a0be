// How many statements a second the Postgres port takes: of one login, and of one address.
import type { Clock } from '@fleetshard/core'
import { RateLimit } from '../../security/mod.ts'
import type { Allowance } from './session/allowance.ts'

/** Statements a second; 0 for no limit. */
export interface StatementRates {
  readonly perLogin: number
  readonly perAddress: number
}

/** Whose statements they are. */
export interface StatementSender {
  /** Null where nobody had to say who he is: his address stands for him. */
  readonly login: string | null
  readonly host: string
}

/** The limits of one router. */
export class StatementLimit {
  readonly #login: RateLimit
  readonly #address: RateLimit
  readonly #isOff: boolean

  constructor(clock: Clock, { perLogin, perAddress }: StatementRates) {
    this.#isOff = perLogin === 0 && perAddress === 0
    this.#login = new RateLimit({
      clock,
      perSecond: perLogin,
      burst: perLogin,
      what: (name) => `statements of ${name}`,
      hint: `router.wire-statements-per-second is ${String(perLogin)}: send less, or wait`,
    })
    this.#address = new RateLimit({
      clock,
      perSecond: perAddress,
      burst: perAddress,
      what: (name) => `statements from ${name}`,
      hint: `router.wire-statements-per-address is ${String(perAddress)}: send less, or wait`,
    })
  }

  /** What a session of that sender may send; null where there is no limit. */
  allowanceOf({ login, host }: StatementSender): Allowance | null {
    if (this.#isOff) return null
    const name = login ?? host
    return (statements) => {
      this.#address.check(host)
      this.#login.use(name, statements)
      this.#address.use(host, statements)
    }
  }
}
