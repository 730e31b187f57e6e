import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { rename } from 'node:fs/promises'
import { isErrno, type OpenFiles, type RootDirectory, writeFully } from '@isthmus/core'
import { fdatasyncOf, readOwnFile, writeOwnFile } from './own-file.ts'
import { isPieceName } from './piece-name.ts'
import { OWN_FOLDER } from './placement.ts'
import type { FileMark } from './torrent-state.ts'

/** What was known of one piece when it was synced. */
export interface IndexEntry {
  readonly name: string
  readonly mark: FileMark
  readonly lastUsed: number
}

const HEADER = Buffer.from('isthmus-piece-index 1\n')
const COMPONENTS = [OWN_FOLDER, 'pieces.index']
const ASIDE_COMPONENTS = [OWN_FOLDER, 'pieces.index.bad']
// Strings end at twice that; a cache of two million pieces is far below.
const MAX_BYTES = 256 * 1024 * 1024
/** Entries of pieces that are gone may stay for as long as they are no more than this, and the others. */
const SLACK = 1000

/**
 * The file that says which pieces were verified and on the medium, and what their files looked like
 * then. It grows by a record per sync and is written anew when most of it is history. A record carries
 * its checksum: what a power cut left of the last one is dropped.
 */
export class PieceIndex {
  readonly #root: RootDirectory
  readonly #openFiles: OpenFiles
  #length = 0
  #entries = 0
  /** Whether what is on disk can be added to. */
  #whole = false

  constructor(root: RootDirectory, openFiles: OpenFiles) {
    this.#root = root
    this.#openFiles = openFiles
  }

  /** A file that makes no sense is put aside as `.bad`: that costs checking the pieces again. */
  async load(): Promise<ReadonlyMap<string, IndexEntry>> {
    // Also finds out whether a link stands in the place of the folder.
    await this.#root.makeParents(COMPONENTS)
    const bytes = await readOwnFile(this.#root, COMPONENTS, MAX_BYTES)
    const index = bytes && decodePieceIndex(bytes)
    if (bytes === undefined || index === undefined) {
      await this.#putAside()
      return new Map()
    }
    this.#length = bytes.length
    this.#entries = index.entries.size
    this.#whole = !index.torn
    return index.entries
  }

  /**
   * Adds `added`, or writes `all` of `count` entries, which has them too, where that is due. Once it
   * resolves, it lasts.
   */
  async save(
    added: readonly IndexEntry[],
    count: number,
    all: () => readonly IndexEntry[],
  ): Promise<void> {
    if (!this.#whole || this.#entries > 2 * count + SLACK) return await this.rewrite(all())
    if (added.length > 0) await this.#append(added)
  }

  async rewrite(entries: readonly IndexEntry[]): Promise<void> {
    const bytes = Buffer.concat([HEADER, ...encodeRecords(entries)])
    await this.#root.makeParents(COMPONENTS)
    await writeOwnFile(this.#root, COMPONENTS, bytes, { durable: true })
    this.#length = bytes.length
    this.#entries = entries.length
    this.#whole = true
  }

  async #append(entries: readonly IndexEntry[]): Promise<void> {
    const bytes = Buffer.concat(encodeRecords(entries))
    // Until it is known to be there it may be there in part.
    this.#whole = false
    const key = {}
    try {
      await this.#openFiles.use(
        key,
        () => this.#root.open(COMPONENTS, constants.O_WRONLY),
        async (fd) => {
          await writeFully(fd, bytes, this.#length)
          await fdatasyncOf(fd)
        },
      )
    } finally {
      await this.#openFiles.close([key])
    }
    this.#length += bytes.length
    this.#entries += entries.length
    this.#whole = true
  }

  async #putAside(): Promise<void> {
    try {
      await rename(this.#root.pathOf(COMPONENTS), this.#root.pathOf(ASIDE_COMPONENTS))
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error
    }
  }
}

/** So that one record is no string of many megabytes. */
const MAX_RECORD_ENTRIES = 1000

function encodeRecords(entries: readonly IndexEntry[]): Buffer[] {
  const records: Buffer[] = []
  for (let start = 0; start < entries.length; start += MAX_RECORD_ENTRIES) {
    const body = JSON.stringify(
      entries
        .slice(start, start + MAX_RECORD_ENTRIES)
        .map(({ name, mark: { size, mtimeMs, ino }, lastUsed }) => [
          name,
          size,
          mtimeMs,
          ino,
          lastUsed,
        ]),
    )
    records.push(Buffer.from(`${checksum(body)} ${body}\n`))
  }
  return records
}

/** @returns undefined where the bytes are damaged anywhere but at their end, or of another format. */
export function decodePieceIndex(
  bytes: Uint8Array,
): { readonly entries: ReadonlyMap<string, IndexEntry>; readonly torn: boolean } | undefined {
  if (Buffer.compare(bytes.subarray(0, HEADER.length), HEADER) !== 0) return undefined
  const entries = new Map<string, IndexEntry>()
  let torn = false
  for (let start = HEADER.length; start < bytes.length; ) {
    // A second record behind one that makes no sense: no power cut did that.
    if (torn) return undefined
    const newline = bytes.indexOf(0x0a, start)
    const end = newline === -1 ? bytes.length : newline
    const record = Buffer.from(bytes.subarray(start, end)).toString('latin1')
    start = end + 1
    const added = newline === -1 ? undefined : decodeRecord(record)
    torn = added === undefined
    // The latest word on a piece is the last.
    for (const entry of added ?? []) entries.set(entry.name, entry)
  }
  return { entries, torn }
}

function decodeRecord(record: string): IndexEntry[] | undefined {
  const body = record.slice(CHECKSUM_LENGTH + 1)
  if (record !== `${checksum(body)} ${body}`) return undefined
  try {
    const list: unknown = JSON.parse(body)
    if (!Array.isArray(list)) return undefined
    const entries = list.map(entryFrom)
    return entries.some((entry) => entry === undefined) ? undefined : (entries as IndexEntry[])
  } catch {
    return undefined
  }
}

function entryFrom(value: unknown): IndexEntry | undefined {
  if (!Array.isArray(value)) return undefined
  const [name, ...numbers] = value as readonly unknown[]
  if (typeof name !== 'string' || !isPieceName(name)) return undefined
  if (numbers.length !== 4 || !numbers.every((n) => typeof n === 'number')) return undefined
  const [size = 0, mtimeMs = 0, ino = 0, lastUsed = 0] = numbers as readonly number[]
  return { name, mark: { size, mtimeMs, ino }, lastUsed }
}

const CHECKSUM_LENGTH = 16

function checksum(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, CHECKSUM_LENGTH)
}
