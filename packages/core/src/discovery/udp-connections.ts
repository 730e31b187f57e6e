import { LRUCache } from 'lru-cache'

/** BEP 15: a client may use a connection id until one minute after it received it. */
export const CONNECTION_ID_MS = 60_000

/** Connection ids of UDP trackers, by address and port, for as long as they may be used. */
export class UdpConnections {
  readonly #ids: LRUCache<string, bigint>

  /** @param now - a clock in ms that never goes back */
  constructor(now: () => number = () => performance.now()) {
    this.#ids = new LRUCache({ max: 256, ttl: CONNECTION_ID_MS, ttlResolution: 0, perf: { now } })
  }

  take(tracker: string): bigint | undefined {
    return this.#ids.get(tracker)
  }

  put(tracker: string, connectionId: bigint): void {
    this.#ids.set(tracker, connectionId)
  }

  drop(tracker: string): void {
    this.#ids.delete(tracker)
  }
}
