import { randomBytes } from 'node:crypto'
import type { PeerAddress } from '../net/peer-address.ts'

interface OpenQuery {
  readonly endpoint: string
  /** What the asker called it. */
  readonly transaction: Uint8Array
  readonly at: number
}

const TRANSACTION_BYTES = 4
const MAX_OPEN = 2048
// Longer than any asker of ours waits.
const EXPIRES_MS = 10_000

/**
 * Which answers are waited for, and from where. Every query goes out under a random transaction id of
 * ours, so that an answer can only come from where the question went.
 */
export class DhtTransactions {
  readonly #now: () => number
  /** In the order in which they were opened. */
  readonly #open = new Map<string, OpenQuery>()
  readonly #perEndpoint = new Map<string, number>()

  constructor(now: () => number) {
    this.#now = now
  }

  /** @returns the transaction id to send */
  open(to: PeerAddress, transaction: Uint8Array): Uint8Array {
    this.#expire()
    const id = randomBytes(TRANSACTION_BYTES)
    const endpoint = endpointOf(to)
    this.#drop(keyOf(endpoint, id))
    this.#open.set(keyOf(endpoint, id), { endpoint, transaction, at: this.#now() })
    this.#perEndpoint.set(endpoint, (this.#perEndpoint.get(endpoint) ?? 0) + 1)
    return id
  }

  /** Whether an answer from there is waited for. */
  expects(from: PeerAddress): boolean {
    return this.#perEndpoint.has(endpointOf(from))
  }

  /** What the asker called the query that this answers; an answer counts once. */
  take(from: PeerAddress, id: Uint8Array): Uint8Array | undefined {
    if (id.length !== TRANSACTION_BYTES) return undefined
    return this.#drop(keyOf(endpointOf(from), id))?.transaction
  }

  #expire(): void {
    const oldest = this.#now() - EXPIRES_MS
    for (const [key, { at }] of this.#open) {
      if (at > oldest && this.#open.size < MAX_OPEN) return
      this.#drop(key)
    }
  }

  #drop(key: string): OpenQuery | undefined {
    const query = this.#open.get(key)
    if (query === undefined) return undefined
    this.#open.delete(key)
    const left = (this.#perEndpoint.get(query.endpoint) ?? 0) - 1
    if (left > 0) this.#perEndpoint.set(query.endpoint, left)
    else this.#perEndpoint.delete(query.endpoint)
    return query
  }
}

function endpointOf({ host, port }: PeerAddress): string {
  return `${host} ${port}`
}

function keyOf(endpoint: string, id: Uint8Array): string {
  return `${endpoint} ${Buffer.from(id).toString('hex')}`
}
