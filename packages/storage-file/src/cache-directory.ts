import { readdir } from 'node:fs/promises'
import { isErrno, OpenFiles, RootDirectory } from '@isthmus/core'
import { CacheSpace } from './cache-space.ts'
import { KeyedTurns } from './keyed-turns.ts'
import { PieceFolder } from './piece-folder.ts'
import { type IndexEntry, PieceIndex } from './piece-index.ts'
import { isPartName, isPieceName, shardOf } from './piece-name.ts'
import { NAMESPACES_FOLDER, namespaceFolder } from './placement.ts'
import { SyncBatches } from './sync-batches.ts'
import type { FileMark } from './torrent-state.ts'
import { Turns } from './turns.ts'

export interface CacheDirectoryOptions {
  readonly directory: string
  readonly maxBytes: number
  readonly maxOpenFiles: number
  readonly syncIntervalMs: number
}

/** The pieces of one namespace, for those who opened it. */
export interface OpenFolder {
  readonly folder: PieceFolder
  /** Something was committed. */
  committed(): void
  /** Syncs; where nobody else has the folder open, also writes down what was used when. */
  close(): Promise<void>
}

interface KnownFolder {
  readonly folder: PieceFolder
  readonly batches: SyncBatches
  users: number
}

/** All that lies in the directory of a cache, in one folder for each namespace. */
export class CacheDirectory {
  readonly #root: RootDirectory
  readonly #options: CacheDirectoryOptions
  readonly #openFiles: OpenFiles
  readonly #space: CacheSpace
  readonly #turns = new Turns()
  readonly #opening = new KeyedTurns<string>()
  readonly #folders = new Map<string, KnownFolder>()

  /** Looks at every file once, deletes what was in the making, and what is over the cap. */
  static async open(options: CacheDirectoryOptions): Promise<CacheDirectory> {
    const root = await RootDirectory.open(options.directory, { create: true })
    const cache = new CacheDirectory(root, options)
    await cache.#find()
    return cache
  }

  private constructor(root: RootDirectory, options: CacheDirectoryOptions) {
    this.#root = root
    this.#options = options
    this.#openFiles = new OpenFiles({ maxOpenFiles: options.maxOpenFiles })
    this.#space = new CacheSpace(options.maxBytes)
  }

  async open(namespace: string): Promise<OpenFolder> {
    const name = namespace === '' ? '' : namespaceFolder(namespace)
    const known = await this.#opening.take(
      name,
      async () => this.#folders.get(name) ?? (await this.#make(name)),
    )
    known.users++
    return {
      folder: known.folder,
      committed: () => known.batches.schedule(),
      close: () => this.#close(known),
    }
  }

  async #close(known: KnownFolder): Promise<void> {
    try {
      await known.batches.flush()
    } finally {
      known.users--
    }
    if (known.users === 0) await this.#turns.take(() => known.folder.saveOrder())
  }

  async #make(name: string): Promise<KnownFolder> {
    const components = [NAMESPACES_FOLDER, name]
    await this.#root.makeParents([...components, ''])
    const root = await RootDirectory.open(this.#root.pathOf(components))
    return this.#know(name, root, new PieceIndex(root, this.#openFiles))
  }

  #know(name: string, root: RootDirectory, index: PieceIndex): KnownFolder {
    const folder = new PieceFolder({ root, openFiles: this.#openFiles, space: this.#space, index })
    const batches = new SyncBatches({
      sync: () => folder.sync(),
      intervalMs: this.#options.syncIntervalMs,
      turns: this.#turns,
    })
    const known = { folder, batches, users: 0 }
    this.#folders.set(name, known)
    return known
  }

  async #find(): Promise<void> {
    const found: FoundPiece[] = []
    for (const [name, root] of await rootsIn(this.#root)) {
      const index = new PieceIndex(root, this.#openFiles)
      const entries = await index.load()
      const { folder } = this.#know(name, root, index)
      for (const { name: piece, mark } of await piecesIn(root)) {
        const entry = entries.get(piece)
        const lastUsed = entry?.lastUsed ?? mark.mtimeMs
        found.push({ folder, name: piece, mark, entry, lastUsed })
      }
    }
    found.sort((a, b) => a.lastUsed - b.lastUsed)
    for (const { folder, name, mark, entry } of found) folder.found(name, mark, entry)
    await this.#space.take(0)
  }
}

interface FoundPiece {
  readonly folder: PieceFolder
  readonly name: string
  readonly mark: FileMark
  readonly entry: IndexEntry | undefined
  readonly lastUsed: number
}

/** By the name of their folder; '' for the one without a namespace. */
async function rootsIn(root: RootDirectory): Promise<Map<string, RootDirectory>> {
  const roots = new Map([['', root]])
  for (const name of await foldersIn(root, [NAMESPACES_FOLDER])) {
    roots.set(name, await RootDirectory.open(root.pathOf([NAMESPACES_FOLDER, name])))
  }
  return roots
}

async function piecesIn(root: RootDirectory): Promise<{ name: string; mark: FileMark }[]> {
  const pieces: { name: string; mark: FileMark }[] = []
  for (const shard of await foldersIn(root, [])) {
    if (!/^[0-9a-f]{2}$/.test(shard)) continue
    const names = await readdir(root.pathOf([shard]))
    const own = names.filter((name) => shardOf(name) === shard)
    for (const name of own) if (isPartName(name)) await root.remove([shard, name])
    const paths = own.filter(isPieceName).map((name) => [shard, name])
    const found = await root.statAll(paths)
    for (const [index, stats] of found.entries()) {
      // A link, or no file: it is none of ours, and what replaces it is.
      if (stats === undefined || stats instanceof Error || !stats.isFile()) continue
      const { size, mtimeMs, ino } = stats
      pieces.push({ name: paths[index]?.[1] ?? '', mark: { size, mtimeMs, ino } })
    }
  }
  return pieces
}

/** The names of real folders, links left out. */
async function foldersIn(root: RootDirectory, parents: readonly string[]): Promise<string[]> {
  const [own] = await root.statAll([[...parents, '.']])
  if (own === undefined || own instanceof Error) return []
  try {
    const entries = await readdir(root.pathOf(parents), { withFileTypes: true })
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return []
    throw error
  }
}
