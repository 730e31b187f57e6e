import { IsthmusError } from '../errors.ts'
import type { Limits } from '../limits.ts'
import { invalidField } from './dict-fields.ts'
import type { FileEntry } from './file-list.ts'
import { BLOCK_LENGTH, Layout } from './layout.ts'
import type { SafePath } from './safe-path.ts'

/** What an info dictionary says, before anybody counts with it. One of `v1` and `v2` is there. */
export interface InfoFields {
  readonly pieceLength: number
  readonly v1?: { readonly entries: readonly FileEntry[]; readonly pieces: Uint8Array } | undefined
  readonly v2?: { readonly entries: readonly FileEntry[] } | undefined
}

/** What a component costs beside its text. */
const BYTES_PER_COMPONENT = 64
const SHA1_BYTES = 20
const SHA256_BYTES = 32

/**
 * Checks every number of an info dictionary that is later divided by, added up or allocated, and
 * lays it out.
 *
 * @throws IsthmusError `ISTHMUS_METAINFO_INVALID` for what no torrent can be,
 * `ISTHMUS_METAINFO_TOO_LARGE` for what is over one of the limits.
 */
export function validateInfo(info: InfoFields, limits: Limits): Layout {
  const { pieceLength, v1, v2 } = info
  if (pieceLength < 1) throw invalidField('info.piece length', 'is 0')
  if (pieceLength > limits.pieceBytes) throw tooLarge('info.piece length', limits.pieceBytes)
  const layouts: Layout[] = []
  if (v1 !== undefined) layouts.push(validateV1(v1, pieceLength, limits))
  if (v2 !== undefined) layouts.push(validateV2(v2.entries, pieceLength, limits))
  if (v1 !== undefined && v2 !== undefined) validateHybrid(v1.entries, v2.entries, layouts)
  const [layout] = layouts
  if (layout === undefined) throw invalidField('info', 'is neither v1 nor v2')
  return layout
}

/** Called before the entries are built. */
export function assertFileCount(count: number, limits: Limits): void {
  if (count > limits.files) throw tooLarge('the number of files', limits.files)
}

/**
 * Bounds what all paths of one torrent take: in a file tree few bytes can spell very long ones, and
 * every component may become a directory.
 */
export class PathBudget {
  readonly #limits: Limits
  #bytes = 0

  constructor(limits: Limits) {
    this.#limits = limits
  }

  /** @param components - how many were not spent with another path already */
  spend(path: SafePath, components: number): SafePath {
    this.#bytes += path.byteLength + components * BYTES_PER_COMPONENT
    if (this.#bytes > this.#limits.torrentPathBytes) {
      throw tooLarge('the length of all paths', this.#limits.torrentPathBytes)
    }
    return path
  }
}

function validateV1(
  { entries, pieces }: NonNullable<InfoFields['v1']>,
  pieceLength: number,
  limits: Limits,
): Layout {
  const length = totalLength(entries, 'info.files')
  const pieceCount = Math.ceil(length / pieceLength)
  if (pieceCount > limits.pieces) throw tooLarge('the number of pieces', limits.pieces)
  if (pieces.length !== pieceCount * SHA1_BYTES) {
    throw invalidField('info.pieces', `does not hold ${pieceCount} hashes of 20 bytes`)
  }
  return new Layout({ pieceLength, files: entries })
}

function validateV2(entries: readonly FileEntry[], pieceLength: number, limits: Limits): Layout {
  // BEP 52: a power of two, and a piece is at least one leaf of the hash tree.
  if (pieceLength < BLOCK_LENGTH || 2 ** Math.round(Math.log2(pieceLength)) !== pieceLength) {
    throw invalidField('info.piece length', 'is not a power of two of at least 16 KiB')
  }
  let pieceCount = 0
  for (const entry of entries) {
    pieceCount += Math.ceil(entry.length / pieceLength)
    if (entry.length > 0 && !entry.padding && entry.piecesRoot?.length !== SHA256_BYTES) {
      throw invalidField('info.file tree.pieces root', 'is not 32 bytes')
    }
  }
  if (pieceCount > limits.pieces) throw tooLarge('the number of pieces', limits.pieces)
  totalLength(entries, 'info.file tree')
  if (!Number.isSafeInteger(pieceCount * pieceLength)) {
    throw invalidField('info.file tree', 'adds up to more than 2^53-1 bytes')
  }
  return new Layout({ pieceLength, files: entries, align: true })
}

function totalLength(entries: readonly FileEntry[], field: string): number {
  let length = 0
  let listed = 0
  for (const entry of entries) {
    length += entry.length
    if (!entry.padding) listed++
    // Checked on the way: a sum that is no longer exact could come back down.
    if (!Number.isSafeInteger(length))
      throw invalidField(field, 'adds up to more than 2^53-1 bytes')
  }
  if (listed === 0) throw invalidField(field, 'has no file')
  return length
}

/** BEP 52, "Upgrade Path": both views name the same files, in the same order, at the same places. */
function validateHybrid(
  v1: readonly FileEntry[],
  v2: readonly FileEntry[],
  [layoutV1, layoutV2]: readonly Layout[],
): void {
  const listed = v1.filter((entry) => !entry.padding)
  const agree =
    listed.length === v2.length &&
    layoutV1?.pieceCount === layoutV2?.pieceCount &&
    v2.every((entry, index) => {
      const other = listed[index]
      return (
        other?.padding === false &&
        !entry.padding &&
        other.length === entry.length &&
        other.path.toString() === entry.path.toString() &&
        (entry.length === 0 || layoutV1?.fileOffset(index) === layoutV2?.fileOffset(index))
      )
    })
  if (!agree) throw invalidField('info', 'names other files for v1 than for v2')
}

function tooLarge(subject: string, limit: number): IsthmusError {
  return new IsthmusError('ISTHMUS_METAINFO_TOO_LARGE', `${subject} is over the limit of ${limit}`)
}
