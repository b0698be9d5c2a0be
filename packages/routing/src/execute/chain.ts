// Members that come and go with every statement, in the order in which they came. Not a Set: each table of a Set points
// to the one that took its place, so that a dead one in the old generation keeps all later ones alive, with what they
// held, until a full collection. A chain is made of its members and leaves nothing behind.

/** What a member carries for its chain; nobody else touches it. */
export interface Linked<Member> {
  /** The chain that it is in. */
  chain: object | null
  before: Member | null
  behind: Member | null
}

/** Members in the order in which they came; each is in one chain at most. */
export class Chain<Member extends Linked<Member>> {
  #first: Member | null = null
  #last: Member | null = null
  #size = 0

  get size(): number {
    return this.#size
  }

  /** The one that has been in it for the longest; null when it is empty. */
  get first(): Member | null {
    return this.#first
  }

  /** Nothing happens when it is in it already. It must not be in another. */
  add(member: Member): void {
    if (member.chain === this) return
    member.chain = this
    member.before = this.#last
    if (this.#last === null) this.#first = member
    else this.#last.behind = member
    this.#last = member
    this.#size += 1
  }

  has(member: Member): boolean {
    return member.chain === this
  }

  /** False when it is not in it. */
  delete(member: Member): boolean {
    if (member.chain !== this) return false
    const { before, behind } = member
    if (before === null) this.#first = behind
    else before.behind = behind
    if (behind === null) this.#last = before
    else behind.before = before
    member.chain = member.before = member.behind = null
    this.#size -= 1
    return true
  }

  /** All of now; what is done to the chain meanwhile changes nothing in it. */
  members(): readonly Member[] {
    const members: Member[] = []
    for (let member = this.#first; member !== null; member = member.behind) members.push(member)
    return members
  }
}
