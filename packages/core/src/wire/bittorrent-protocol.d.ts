// The part of bittorrent-protocol 5.0.9 that the control plane leans on; the package has no types.
// `control-plane.test.ts` fails when an update changes what is written here.
declare module 'bittorrent-protocol' {
  export interface ExtensionHandler {
    onHandshake?(infoHash: string, peerId: string, extensions: PeerExtensions): void
    onExtendedHandshake?(handshake: Record<string, unknown>): void
    onMessage?(payload: Uint8Array): void
  }

  export interface PeerExtensions {
    readonly dht: boolean
    readonly fast: boolean
    readonly extended: boolean
  }

  export default class Wire {
    constructor(type?: string, encryption?: 0 | 1 | 2)
    readonly amChoking: boolean
    readonly amInterested: boolean
    readonly peerChoking: boolean
    readonly peerInterested: boolean
    readonly hasFast: boolean
    readonly allowedFastSet: number[]
    readonly peerAllowedFastSet: number[]
    readonly peerExtendedMapping: Record<string, number>
    readonly extendedMapping: Record<string, string>
    readonly _extendedHandshakeSent?: boolean
    extendedHandshake: Record<string, unknown>
    _finished: boolean
    _push(data: Uint8Array): boolean | undefined
    _onHandshakeBuffer(buffer: Uint8Array): void
    _onMessage(buffer: Uint8Array): void
    use(extension: new (wire: Wire) => ExtensionHandler): void
    handshake(
      infoHash: Uint8Array,
      peerId: Uint8Array,
      extensions: { dht?: boolean; fast?: boolean },
    ): void
    keepAlive(): void
    choke(): void
    unchoke(): void
    interested(): void
    uninterested(): void
    have(index: number): void
    bitfield(bits: Uint8Array): void
    haveAll(): void
    haveNone(): void
    port(port: number): void
    allowedFast(index: number): void
    extended(extension: number | string, payload: Uint8Array | Record<string, unknown>): void
    on(event: string, listener: (...args: never[]) => void): this
    removeAllListeners(): this
  }
}
