import type { ByteRange } from '../byte-source.ts'
import type { Bitfield } from '../metainfo/bitfield.ts'
import type { Metainfo } from '../metainfo/metainfo.ts'
import type { AbortOptions } from '../signal.ts'

export interface StorageOpenOptions extends AbortOptions {
  /** Keeps tenants apart: equal torrents in two namespaces share nothing. @defaultValue '' */
  readonly namespace?: string | undefined
}

/** Where pieces are kept. One storage serves many torrents. Implement it for your medium. */
export interface Storage {
  /** Opens, and creates where nothing is there yet, what is kept of one torrent. */
  open(metainfo: Metainfo, options?: StorageOpenOptions): Promise<PieceStorage>
}

/** Which pieces are there, one bit each, most significant bit first (BEP 3). */
export interface StorageState {
  /** The bytes are there, right or wrong. */
  readonly present: Bitfield
  /** The bytes were checked against their hash by whoever wrote them, and synced since. A subset of `present`. */
  readonly verified: Bitfield
}

/** What a storage lets core hold at a time, shared by all torrents that return the same object. */
export interface StorageCapacity {
  readonly maxBytes: number
  /**
   * Waits until `bytes` more may be held: waiting here is the back-pressure. Disposing of the answer
   * gives the bytes back. More than `maxBytes` is admitted alone, once nothing else is held.
   */
  reserve(bytes: number, options?: AbortOptions): Promise<Disposable>
}

/** The pieces of one torrent. A method that the medium cannot offer is left out, never stubbed. */
export interface PieceStorage extends AsyncDisposable {
  /**
   * `owned`: only we write here; what was verified stays so. `mutable`: others may change it; core
   * reads whole pieces, hashes them on every fill and keeps the verified copies in one bounded cache
   * per client.
   */
  readonly trust: 'owned' | 'mutable'
  /** A read costs no I/O, so core keeps no copy of its own in front of it. @defaultValue false */
  readonly inMemory?: boolean | undefined
  /**
   * `write` may be given views of a `SharedArrayBuffer`, which some interfaces of the platform refuse.
   * It saves core a copy of every piece. @defaultValue false
   */
  readonly takesShared?: boolean | undefined
  /** What is there now. Called once after opening, and again after `watch` said that much changed. */
  state(options?: AbortOptions): Promise<StorageState>
  /** Presence changed behind our back (another process, an eviction). */
  watch?(changed: (piece: number, present: boolean) => void): Disposable
  /**
   * Offsets in the torrent; may span pieces and files. Fills and returns `into` when given (its
   * length is the span's), else a buffer of the caller's own. Padding (BEP 47) and gaps (BEP 52) read
   * as zeros. Rejects with `ISTHMUS_PIECE_MISSING` where bytes of the span were never written, with a
   * `RangeError` for a span outside of the torrent or an `into` of another length.
   */
  read(
    span: ByteRange,
    options?: AbortOptions & { readonly into?: Uint8Array | undefined },
  ): Promise<Uint8Array>
  /**
   * `write` only borrows its bytes: once it has settled they are core's again, to serve readers and to
   * be filled anew. Without it they are the storage's from the call on. @defaultValue false
   */
  readonly borrows?: boolean | undefined
  /** What will be read soon, most urgent first: an origin coalesces by it, a cache spares it. */
  want?(pieces: readonly number[]): void
  /**
   * Any run of bytes, verified or not yet. Takes over `bytes`, unless the storage says that it only
   * borrows them. Resolves once a read would see it. What was committed of it no longer is.
   */
  write?(offset: number, bytes: Uint8Array, options?: AbortOptions): Promise<void>
  /**
   * The piece passed its hash: present from now on. The storage syncs in batches, and after an
   * unclean stop counts as verified only what was synced; `close()` syncs. Rejects with
   * `ISTHMUS_PIECE_MISSING` where it was not written whole.
   */
  commit?(piece: number, options?: AbortOptions): Promise<void>
  /** Forgets one piece; its bytes are gone from now on. */
  evict?(piece: number, options?: AbortOptions): Promise<void>
  /** Deletes all that is kept of this torrent, and closes. */
  destroy?(options?: AbortOptions): Promise<void>
  readonly capacity?: StorageCapacity | undefined
  /** Waits for work under way, syncs, lets go. Calling it again does nothing. */
  close(): Promise<void>
}
