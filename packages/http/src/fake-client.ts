import {
  assertRange,
  type ByteRange,
  type Client,
  type InfoHash,
  IsthmusError,
  parseInfoHash,
  type ReadOptions,
  type Torrent,
} from '@isthmus/core'

// For tests alone: torrents of bytes in memory, behind the calls that the handler makes.

/** A promise that is settled from outside. */
export class Gate {
  open: () => void = () => {}
  readonly opened = new Promise<void>((resolve) => {
    this.open = resolve
  })
}

export class FakeFile {
  readonly etag = '"e"'
  readonly progress = 1
  /** Bytes per chunk. */
  chunkBytes = 64 * 1024
  /** Fails here. */
  failAt = Number.POSITIVE_INFINITY
  /** Waits here, for ever where nobody opens it. */
  stallAt = Number.POSITIVE_INFINITY
  readonly stalled = new Gate()
  /** Reads under way. */
  reads = 0
  /** Reads ever begun. */
  begun = 0
  readonly path: string
  readonly index: number
  readonly bytes: Uint8Array

  constructor(path: string, index: number, bytes: Uint8Array) {
    this.path = path
    this.index = index
    this.bytes = bytes
  }

  get name(): string {
    return this.path.slice(this.path.lastIndexOf('/') + 1)
  }

  get length(): number {
    return this.bytes.length
  }

  async *read(range: ByteRange, { signal }: ReadOptions = {}): AsyncGenerator<Uint8Array> {
    assertRange(range, this.length)
    this.reads++
    this.begun++
    try {
      for (let at = range.start; at < range.end; at += this.chunkBytes) {
        signal?.throwIfAborted()
        if (at >= this.stallAt) {
          this.stalled.open()
          await untilAborted(signal)
        }
        if (at >= this.failAt) throw new IsthmusError('ISTHMUS_STORAGE_FAILED', 'no /secret/dir')
        yield this.bytes.slice(at, Math.min(at + this.chunkBytes, range.end))
      }
    } finally {
      this.reads--
    }
  }
}

export class FakeTorrent {
  readonly infoHash: InfoHash
  readonly id: { readonly v1?: InfoHash; readonly v2?: InfoHash }
  readonly files: readonly FakeFile[]
  readonly peers: unknown[] = []
  readonly progress = 0.5
  readonly peerCount = 2
  readonly downloadRate = 10
  readonly uploadRate = 20
  hasMetadata = true

  constructor(infoHash: InfoHash, files: Readonly<Record<string, Uint8Array>>, v2?: InfoHash) {
    this.infoHash = infoHash
    this.id = v2 === undefined ? { v1: infoHash } : { v1: infoHash, v2 }
    this.files = Object.entries(files).map(([path, bytes], i) => new FakeFile(path, i, bytes))
  }

  get isReady(): boolean {
    return this.hasMetadata
  }

  get infoHashV2(): InfoHash | undefined {
    return this.id.v2
  }

  get metainfo(): object | undefined {
    return this.hasMetadata ? {} : undefined
  }

  get name(): string | undefined {
    return this.hasMetadata ? 'fake' : undefined
  }

  get pieceLength(): number | undefined {
    return this.hasMetadata ? 16_384 : undefined
  }

  get length(): number | undefined {
    return this.hasMetadata ? this.files.reduce((sum, { length }) => sum + length, 0) : undefined
  }

  async ready({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    if (!this.hasMetadata) await untilAborted(signal)
  }

  file(path: string): FakeFile {
    const file = this.files.find((other) => other.path === path)
    if (file !== undefined) return file
    throw new IsthmusError('ISTHMUS_FILE_UNKNOWN', 'no such file')
  }

  addPeers(peers: readonly unknown[]): number {
    this.peers.push(...peers)
    return peers.length
  }
}

export class FakeClient {
  readonly torrents: FakeTorrent[] = []
  /** What an unknown torrent turns out to be. */
  created: (source: unknown) => FakeTorrent
  readonly added: unknown[] = []

  constructor(created: (source: unknown) => FakeTorrent) {
    this.created = created
  }

  get client(): Client {
    return this as unknown as Client
  }

  get(hash: string): FakeTorrent | undefined {
    return this.torrents.find(({ id }) => id.v1 === hash || id.v2 === hash)
  }

  async add(source: unknown, { peers = [] }: { peers?: readonly unknown[] } = {}) {
    this.added.push(source)
    const made = this.created(source)
    const torrent = this.get(made.infoHash) ?? made
    if (!this.torrents.includes(torrent)) this.torrents.push(torrent)
    torrent.addPeers(peers)
    return torrent
  }

  async remove(torrent: Torrent | FakeTorrent): Promise<void> {
    const index = this.torrents.indexOf(torrent as FakeTorrent)
    if (index === -1) throw new IsthmusError('ISTHMUS_TORRENT_UNKNOWN', 'unknown')
    this.torrents.splice(index, 1)
  }
}

export const fakeHash = parseInfoHash('aa'.repeat(20))

/** Bytes that differ from place to place. */
export function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8) * 7) & 0xff)
}

function untilAborted(signal?: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const abort = () => reject(signal?.reason)
    if (signal?.aborted) abort()
    else signal?.addEventListener('abort', abort, { once: true })
  })
}
