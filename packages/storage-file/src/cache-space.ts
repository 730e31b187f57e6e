import { ByteCapacity } from '@isthmus/core'
import { hasPlace, type PieceFile, urgencyOf } from './piece-file.ts'

/**
 * The bytes on disk of a whole cache. Places for what open torrents write are core's to give and to
 * take back (`capacity`); whatever else is there, of earlier runs and of torrents that were closed, is
 * spare: it stays for as long as nobody needs its room. The cap holds whatever others do: where more is
 * written than there are places for, what has a place goes too.
 */
export class CacheSpace {
  readonly capacity: ByteCapacity
  /** Least recently used first. */
  readonly #spare = new Set<PieceFile>()
  /** Least recently used first. */
  readonly #placed = new Set<PieceFile>()
  readonly #leaving = new Map<PieceFile, Promise<void>>()
  #bytes = 0
  #leavingBytes = 0
  #lastUsed = 0

  constructor(maxBytes: number) {
    this.capacity = new ByteCapacity(maxBytes)
  }

  /** What lies on disk, or is about to. */
  get bytes(): number {
    return this.#bytes
  }

  /** Counts bytes that are there already. */
  add(bytes: number): void {
    this.#bytes += bytes
  }

  /** Counts bytes that are about to be written; resolves once what must go for them is gone. */
  async take(bytes: number): Promise<void> {
    this.#bytes += bytes
    const others = [...this.#leaving.values()]
    const victims: Promise<void>[] = []
    while (this.#bytes - this.#leavingBytes > this.capacity.maxBytes) {
      const victim = leastNeeded(this.#spare) ?? leastNeeded(this.#placed)
      // A piece larger than the cap.
      if (victim === undefined) break
      victims.push(victim.folder.remove(victim))
    }
    await this.#gone(bytes, victims, others)
  }

  /** Throws out spare pieces, and no others, of `bytes` altogether, where there are any. @returns whether it did. */
  async yield(bytes: number): Promise<boolean> {
    const victims: Promise<void>[] = []
    for (let freed = 0; freed < bytes; ) {
      const victim = leastNeeded(this.#spare)
      if (victim === undefined) break
      freed += victim.mark.size
      victims.push(victim.folder.remove(victim))
    }
    await Promise.all(victims)
    return victims.length > 0
  }

  give(bytes: number): void {
    this.#bytes -= bytes
  }

  /** The file was used now. */
  touch(file: PieceFile): void {
    file.lastUsed = this.now()
    if (this.#spare.delete(file)) this.#spare.add(file)
    else if (this.#placed.delete(file)) this.#placed.add(file)
  }

  /** A time later than all that it answered before. */
  now(): number {
    this.#lastUsed = Math.max(this.#lastUsed + 2 ** -10, Date.now())
    return this.#lastUsed
  }

  /** Who holds the file changed. The first call for a file must be in the order of use. */
  settle(file: PieceFile): void {
    const isPlaced = hasPlace(file)
    const [to, from] = isPlaced ? [this.#placed, this.#spare] : [this.#spare, this.#placed]
    from.delete(file)
    to.add(file)
  }

  /** The file is no piece any more; its bytes count until `gone` resolves. */
  leave(file: PieceFile, gone: Promise<void>): void {
    const { size } = file.mark
    this.#spare.delete(file)
    this.#placed.delete(file)
    this.#leavingBytes += size
    const leaving = gone
      .then(() => {
        this.#bytes -= size
      })
      .finally(() => {
        this.#leavingBytes -= size
        this.#leaving.delete(file)
      })
    // Whoever had it removed hears of a failure.
    leaving.catch(() => {})
    this.#leaving.set(file, leaving)
  }

  async #gone(
    bytes: number,
    victims: readonly Promise<void>[],
    others: readonly Promise<void>[],
  ): Promise<void> {
    try {
      await Promise.all(victims)
      await Promise.allSettled(others)
    } catch (error) {
      this.#bytes -= bytes
      throw error
    }
  }
}

/** The first that nobody will read soon; where all will be read, what is read last. */
function leastNeeded(files: Iterable<PieceFile>): PieceFile | undefined {
  let last: PieceFile | undefined
  let lastUrgency = -1
  for (const file of files) {
    const urgency = urgencyOf(file)
    if (urgency === undefined) return file
    if (urgency <= lastUrgency) continue
    last = file
    lastUrgency = urgency
  }
  return last
}
