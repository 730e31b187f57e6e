import type { ByteRange } from '../byte-source.ts'
import type { PieceStorage, Storage, StorageOpenOptions } from '../storage/storage.ts'
import { expectThat } from './expectations.ts'
import { type StorageSample, storageSample } from './storage-sample.ts'

/** One medium for one case. */
export interface StorageFixture {
  /**
   * A storage on the medium of this fixture. Called again it stands for a restart: the same medium,
   * after all torrents of the storage before it were closed.
   */
  open(): Promise<Storage>
  /** For a storage without `write`: a torrent of at least two pieces whose bytes are all on the medium. */
  readonly provided?: StorageSample | undefined
  /** Called when the case is over, however it ended. */
  dispose?(): Promise<void>
}

/** The cases of one part of the contract, by the promise that each checks. */
export type StoragePromises = Readonly<Record<string, (medium: CheckedMedium) => Promise<void>>>

/** A piece storage that has the methods that the fixture did not rule out. */
export type WritablePieces = PieceStorage & Required<Pick<PieceStorage, 'write' | 'commit'>>

/** The medium under test. What it opens is closed with it. */
export interface CheckedMedium {
  readonly sample: StorageSample
  /** Opens `sample`, or another torrent. */
  open(sample?: StorageSample, options?: StorageOpenOptions): Promise<PieceStorage>
  openWritable(sample?: StorageSample, options?: StorageOpenOptions): Promise<WritablePieces>
  /** All of the sample is there: committed where the storage writes, provided where it does not. */
  openComplete(sample?: StorageSample, options?: StorageOpenOptions): Promise<PieceStorage>
  /** Closes what is open; the next `open` is of a new storage on the same medium. */
  restart(): Promise<void>
  dispose(): Promise<void>
}

export function openMedium(fixture: StorageFixture, writes: boolean): CheckedMedium {
  const sample = fixture.provided ?? storageSample(1)
  let storage: Storage | undefined
  let opened: PieceStorage[] = []

  const medium: CheckedMedium = {
    sample,
    async open(of = sample, options) {
      storage ??= await fixture.open()
      const pieces = await storage.open(of.metainfo, options)
      opened.push(pieces)
      expectThat(writes || pieces.write === undefined, 'write is there although it was ruled out')
      return pieces
    },
    async openWritable(of, options) {
      const pieces = await medium.open(of, options)
      expectThat(isWritable(pieces), 'write or commit is missing: rule out `write` if it should be')
      return pieces
    },
    async openComplete(of = sample, options) {
      if (!writes) {
        expectThat(fixture.provided !== undefined, 'a storage without write needs `provided`')
        return medium.open(of, options)
      }
      const pieces = await medium.openWritable(of, options)
      for (let piece = 0; piece < of.metainfo.layout.pieceCount; piece++) {
        await writePiece(pieces, of, piece)
        await pieces.commit(piece)
      }
      return pieces
    },
    async restart() {
      const before = opened
      opened = []
      storage = undefined
      for (const pieces of before) await pieces.close()
    },
    async dispose() {
      try {
        await medium.restart()
      } finally {
        await fixture.dispose?.()
      }
    },
  }
  return medium
}

/** The bytes of `range`, in a buffer that whoever takes it may keep or change. */
export function bytesOf(sample: StorageSample, range: ByteRange): Uint8Array {
  return sample.content.slice(range.start, range.end)
}

export function writePiece(
  pieces: WritablePieces,
  sample: StorageSample,
  piece: number,
): Promise<void> {
  const range = sample.metainfo.layout.pieceRange(piece)
  return pieces.write(range.start, bytesOf(sample, range))
}

function isWritable(pieces: PieceStorage): pieces is WritablePieces {
  return pieces.write !== undefined && pieces.commit !== undefined
}
