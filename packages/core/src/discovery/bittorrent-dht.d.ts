// The part of bittorrent-dht 11.0.12 that the DHT node leans on; the package has no types.
// `dht-node.test.ts` fails when an update changes what is written here.
declare module 'bittorrent-dht' {
  export interface DhtContact {
    readonly id: Buffer
    readonly host: string
    readonly port: number
    /** When it last answered, by `Date.now()`. */
    readonly seen?: number
  }

  export interface DhtDatagramSocket {
    on(event: string, listener: (...args: unknown[]) => void): unknown
    send(
      buffer: Buffer,
      offset: number,
      length: number,
      port: number,
      address: string,
      callback: (error: Error | null) => void,
    ): void
    address(): { readonly address: string; readonly port: number }
    close(): void
  }

  export interface DhtOptions {
    readonly nodeId: Buffer
    readonly bootstrap: false
    readonly socket: DhtDatagramSocket
    readonly concurrency: number
    readonly maxAge: number
    readonly maxPeers: number
    readonly timeout: number
  }

  interface KrpcMessage {
    readonly q: string
    readonly a?: Record<string, Uint8Array>
  }

  export default class DHT {
    constructor(options: DhtOptions)
    readonly nodeId: Buffer
    readonly nodes: {
      count(): number
      get(id: Uint8Array): DhtContact | null
      toArray(): DhtContact[]
    }
    /** Rotates the secrets of tokens. */
    readonly _interval: NodeJS.Timeout
    readonly _rpc: {
      /** Times queries out. */
      readonly socket: { readonly _timer: NodeJS.Timeout }
      /** Whoever answers gets into the routing table, if there is room. */
      query(
        node: { readonly host: string; readonly port: number },
        message: KrpcMessage,
        callback: (error: Error | null) => void,
      ): void
      /** Asks nodes closer and closer to `target`, behind everything else. */
      populate(
        target: Uint8Array,
        message: KrpcMessage,
        callback: (error: Error | null, asked: number) => void,
      ): void
    }
    /** Asks nodes closer and closer to `infoHash`; every answer with peers is a 'peer' event for each. */
    lookup(infoHash: Uint8Array, callback: (error: Error | null, asked: number) => void): () => void
    /** To the nodes that the last lookup of `infoHash` had tokens of. */
    announce(
      infoHash: Uint8Array,
      port: number,
      callback: (error: Error | null, taken: number) => void,
    ): void
    removeNode(id: Uint8Array): void
    destroy(callback: () => void): void
    on(
      event: 'peer',
      listener: (peer: { host: string; port: number }, infoHash: Buffer) => void,
    ): this
    on(event: 'error' | 'warning', listener: (error: Error) => void): this
    on(event: 'ready', listener: () => void): this
  }
}
