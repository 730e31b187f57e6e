import {
  type AbortOptions,
  assertRange,
  type ByteRange,
  type FileSpan,
  IsthmusError,
  type Metainfo,
  type OpenFiles,
  type PieceStorage,
  readBuffer,
  type StorageState,
  storageError,
  WorkGate,
  WrittenBytes,
} from '@isthmus/core'
import { Checkpoints } from './checkpoints.ts'
import type { Placement } from './placement.ts'
import { markFiles, recover } from './recovery.ts'
import { StateFile } from './state-file.ts'
import { TorrentFiles } from './torrent-files.ts'
import type { Turns } from './turns.ts'

export interface FilePiecesOptions {
  readonly metainfo: Metainfo
  readonly placement: Placement
  readonly openFiles: OpenFiles
  readonly syncing: Turns
  readonly syncIntervalMs: number
  /** Called once nothing of the torrent is open any more. */
  readonly closed: () => void
  readonly signal?: AbortSignal | undefined
}

interface FilePiecesParts extends FilePiecesOptions {
  readonly files: TorrentFiles
  readonly stateFile: StateFile
  readonly written: WrittenBytes
  readonly checkpoints: Checkpoints
}

/** The pieces of one torrent in its own files. */
export class FilePieces implements PieceStorage {
  readonly trust = 'owned'
  readonly takesShared = true
  readonly borrows = true
  readonly #metainfo: Metainfo
  readonly #placement: Placement
  readonly #files: TorrentFiles
  readonly #stateFile: StateFile
  readonly #written: WrittenBytes
  readonly #checkpoints: Checkpoints
  readonly #closed: () => void
  readonly #gate = new WorkGate()
  #closing: Promise<void> | undefined

  static async open(options: FilePiecesOptions): Promise<FilePieces> {
    const { metainfo, placement } = options
    const stateFile = new StateFile(placement.root, metainfo)
    const files = new TorrentFiles(metainfo, placement, options.openFiles)
    const saved = await stateFile.load()
    const marks = await markFiles(placement, options.signal)
    const recovered = recover(metainfo, marks, saved)
    for (const { index, length } of metainfo.files) {
      if (length === 0 && marks[index] === undefined) await files.make(index)
    }
    const written = new WrittenBytes(metainfo.layout, recovered.present)
    const checkpoints = new Checkpoints({
      files,
      stateFile,
      written,
      recovered,
      clean: saved?.clean ?? true,
      intervalMs: options.syncIntervalMs,
      turns: options.syncing,
    })
    return new FilePieces({ ...options, files, stateFile, written, checkpoints })
  }

  private constructor(parts: FilePiecesParts) {
    this.#metainfo = parts.metainfo
    this.#placement = parts.placement
    this.#files = parts.files
    this.#stateFile = parts.stateFile
    this.#written = parts.written
    this.#checkpoints = parts.checkpoints
    this.#closed = parts.closed
  }

  get isClosed(): boolean {
    return this.#gate.isClosed
  }

  state(options: AbortOptions = {}): Promise<StorageState> {
    return this.#gate.enter(options, async () => ({
      present: this.#written.present.copy(),
      verified: this.#checkpoints.synced.copy(),
    }))
  }

  read(
    span: ByteRange,
    options: AbortOptions & { readonly into?: Uint8Array | undefined } = {},
  ): Promise<Uint8Array> {
    return this.#gate.enter(options, async () => {
      const { layout } = this.#metainfo
      const bytes = readBuffer(span, layout.length, options.into)
      if (!this.#written.has(span)) {
        throw missing(`bytes ${span.start} to ${span.end} of ${this.#metainfo.name} are not here`)
      }
      for (const part of layout.filesOf(span)) {
        options.signal?.throwIfAborted()
        const { start, end } = part.range
        await this.#readPart(part, bytes.subarray(start - span.start, end - span.start))
      }
      return bytes
    })
  }

  write(offset: number, bytes: Uint8Array, options: AbortOptions = {}): Promise<void> {
    return this.#gate.enter(options, async () => {
      const { layout } = this.#metainfo
      const span = { start: offset, end: offset + bytes.length }
      assertRange(span, layout.length)
      this.#checkpoints.assertWorking()
      const pieces = layout.piecesOf(span)
      for (let piece = pieces.start; piece < pieces.end; piece++) this.#checkpoints.unverify(piece)
      for (const { file, fileRange, range } of layout.filesOf(span)) {
        if (file === -1) continue
        options.signal?.throwIfAborted()
        const part = bytes.subarray(range.start - offset, range.end - offset)
        await this.#files
          .write(file, part, fileRange.start)
          .finally(() => this.#checkpoints.wrote(file))
      }
      this.#written.add(span)
    })
  }

  commit(piece: number, options: AbortOptions = {}): Promise<void> {
    return this.#gate.enter(options, async () => {
      this.#checkpoints.assertWorking()
      if (!this.#written.present.has(piece)) {
        throw missing(`piece ${piece} of ${this.#metainfo.name} was not written whole`)
      }
      const { layout } = this.#metainfo
      const parts = layout.filesOf(layout.pieceRange(piece))
      const files = parts.map(({ file }) => file).filter((file) => file !== -1)
      this.#checkpoints.verify(piece, files)
    })
  }

  /** Forgets the piece; the room it takes on the medium is used again when it is written again. */
  evict(piece: number, options: AbortOptions = {}): Promise<void> {
    return this.#gate.enter(options, async () => {
      this.#checkpoints.unverify(piece)
      this.#written.delete(piece)
    })
  }

  async destroy(options: AbortOptions = {}): Promise<void> {
    await this.#gate.enter(options, async () => {
      this.#closing = this.#destroy()
    })
    await this.#closing
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #readPart({ file, fileRange, range }: FileSpan, bytes: Uint8Array): Promise<void> {
    if (file === -1) {
      bytes.fill(0)
      return
    }
    const count = await this.#files.read(file, bytes, fileRange.start)
    if (count === bytes.length) return
    // Somebody cut the file, or took it away. What it lost is not zeros.
    const pieces = this.#metainfo.layout.piecesOf({ start: range.start + count, end: range.end })
    for (let piece = pieces.start; piece < pieces.end; piece++) {
      this.#checkpoints.unverify(piece)
      this.#written.delete(piece)
    }
    throw missing(`${this.#metainfo.files[file]?.path} became shorter`)
  }

  async #close(): Promise<void> {
    await this.#gate.close()
    try {
      await this.#checkpoints.close()
    } catch (error) {
      throw storageError(error, `saving the state of ${this.#metainfo.name}`)
    } finally {
      await this.#files.close()
      this.#closed()
    }
  }

  async #destroy(): Promise<void> {
    await this.#gate.close()
    try {
      await this.#checkpoints.stop()
      await this.#files.close()
      await this.#files.remove()
      await this.#stateFile.remove()
      await this.#placement.root.remove(this.#placement.claim)
    } catch (error) {
      throw storageError(error, `deleting ${this.#metainfo.name}`)
    } finally {
      await this.#files.close()
      this.#closed()
    }
  }
}

function missing(text: string): IsthmusError {
  return new IsthmusError('ISTHMUS_PIECE_MISSING', text)
}
