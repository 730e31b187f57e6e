import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { lstatSync, readdirSync } from 'node:fs'
import {
  appendFile,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import {
  type Bitfield,
  type Metainfo,
  type PieceStorage,
  parseMetainfo,
  RootDirectory,
  type StorageOpenOptions,
} from '@isthmus/core'
import { storageConformance } from '@isthmus/core/conformance'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { makeTorrent, randomBytes } from '../../../test/support/torrents.ts'
import { PieceFileStorage, type PieceFileStorageOptions } from './piece-file-storage.ts'

const PIECE = 16_384

/** A torrent of so many pieces; those of equal seeds have equal pieces. */
function sample(name: string, seeds: readonly number[]): Sample {
  const files = Buffer.concat(seeds.map((seed) => randomBytes(PIECE, seed)))
  const { torrent, content } = makeTorrent({ name, files, pieceLength: PIECE })
  return { metainfo: parseMetainfo(torrent), content }
}

interface Sample {
  readonly metainfo: Metainfo
  readonly content: Uint8Array
}

const film = sample('film', [1, 2, 3, 4])
/** Its first two pieces are the last two of `film`. */
const sequel = sample('sequel', [3, 4, 5])

let directory = ''
let opened: PieceStorage[] = []
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'isthmus-pieces-'))
  opened = []
})
afterEach(async () => {
  for (const pieces of opened) await pieces.close().catch(() => {})
  await rm(directory, { recursive: true, force: true })
})

function createStorage(options: Partial<PieceFileStorageOptions> = {}): PieceFileStorage {
  return new PieceFileStorage({ directory, maxBytes: 64 * PIECE, ...options })
}

async function open(
  { metainfo }: Sample,
  storage = createStorage(),
  options: StorageOpenOptions = {},
): Promise<PieceStorage> {
  const pieces = await storage.open(metainfo, options)
  opened.push(pieces)
  return pieces
}

async function fill(pieces: PieceStorage, of: Sample, which: readonly number[]): Promise<void> {
  for (const piece of which) {
    await pieces.write?.(piece * PIECE, pieceOf(of, piece))
    await pieces.commit?.(piece)
  }
}

/** A run of its own: opens, fills, closes. */
async function keep(of: Sample, which: readonly number[], maxBytes = 64 * PIECE): Promise<void> {
  const pieces = await open(of, createStorage({ maxBytes }))
  await fill(pieces, of, which)
  await pieces.close()
}

function pieceOf({ content }: Sample, piece: number): Uint8Array {
  return content.slice(piece * PIECE, (piece + 1) * PIECE)
}

async function expectPiece(pieces: PieceStorage, of: Sample, piece: number): Promise<void> {
  const bytes = await pieces.read({ start: piece * PIECE, end: (piece + 1) * PIECE })
  expect(Buffer.compare(bytes, pieceOf(of, piece))).toBe(0)
}

async function expectMissing(pieces: PieceStorage, piece: number): Promise<void> {
  const reading = pieces.read({ start: piece * PIECE, end: (piece + 1) * PIECE })
  await expect(reading).rejects.toMatchObject({ code: 'ISTHMUS_PIECE_MISSING' })
}

async function stateOf(pieces: PieceStorage): Promise<{ present: string; verified: string }> {
  const { present, verified } = await pieces.state()
  return { present: bits(present), verified: bits(verified) }
}

/** In a run of its own. */
async function keptOf(of: Sample): Promise<{ present: string; verified: string }> {
  const pieces = await open(of)
  const state = await stateOf(pieces)
  await pieces.close()
  return state
}

function bits(bitfield: Bitfield): string {
  return Array.from({ length: bitfield.length }, (_, i) => (bitfield.has(i) ? '1' : '0')).join('')
}

function nameOf(of: Sample, piece: number): string {
  return createHash('sha1').update(pieceOf(of, piece)).digest('hex')
}

function pathOf(of: Sample, piece: number): string {
  const name = nameOf(of, piece)
  return join(directory, name.slice(0, 2), name)
}

/** Files that take up room of the cache, with their sizes, as paths below the directory. */
function filesOf(where = directory): Map<string, number> {
  const files = new Map<string, number>()
  for (const entry of readdirSync(where, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isDirectory() || path.includes('.isthmus')) continue
    files.set(path.slice(where.length + 1), lstatSync(path).size)
  }
  return files
}

function bytesOnDisk(): number {
  return [...filesOf().values()].reduce((sum, size) => sum + size, 0)
}

describe('PieceFileStorage keeps the storage contract', () => {
  const setup = async () => {
    const own = await mkdtemp(join(tmpdir(), 'isthmus-pieces-'))
    return {
      open: async () =>
        new PieceFileStorage({ directory: own, maxBytes: 64 * 1024 * 1024, syncIntervalMs: 0 }),
      dispose: () => rm(own, { recursive: true }),
    }
  }
  for (const { name, run } of storageConformance(setup, { persists: true })) test(name, run)
})

describe('PieceFileStorage and what is on the disk', () => {
  test('a piece is a file called like its hash, in the folder of its first two digits', async () => {
    await keep(film, [0, 2])
    expect([...filesOf().keys()].sort()).toEqual(
      [0, 2].map((piece) => join(nameOf(film, piece).slice(0, 2), nameOf(film, piece))).sort(),
    )
    expect(Buffer.compare(await readFile(pathOf(film, 2)), pieceOf(film, 2))).toBe(0)
  })

  test('a piece that is not committed is apart, and gone when the torrent is closed', async () => {
    const pieces = await open(film)
    await pieces.write?.(0, pieceOf(film, 0).subarray(0, 100))
    const [[path, size] = ['', 0], ...others] = filesOf()
    expect(others).toEqual([])
    expect(path).toMatch(/^[0-9a-f]{2}\/[0-9a-f]{40}\.\d+\.part$/)
    expect(size).toBe(PIECE)
    await pieces.close()
    expect(filesOf().size).toBe(0)
  })

  test('parts of a run that ended without a word are deleted, what is not ours is left', async () => {
    await keep(film, [0])
    const shard = join(directory, nameOf(film, 0).slice(0, 2))
    await writeFile(join(shard, `${nameOf(film, 0)}.7.part`), 'half')
    await writeFile(join(shard, 'note'), 'mine')
    await writeFile(join(directory, 'note.part'), 'mine')
    expect(await keptOf(film)).toEqual({ present: '1000', verified: '1000' })
    expect((await readdir(shard)).sort()).toEqual([nameOf(film, 0), 'note'].sort())
    expect(await readFile(join(directory, 'note.part'), 'utf8')).toBe('mine')
  })

  test('a piece that stands in a torrent several times is one file until the last is evicted', async () => {
    const repeated = sample('repeated', [1, 2, 1])
    const pieces = await open(repeated)
    await fill(pieces, repeated, [0])
    expect(await stateOf(pieces)).toMatchObject({ present: '101' })
    await pieces.evict?.(0)
    expect(await stateOf(pieces)).toMatchObject({ present: '001' })
    await expectPiece(pieces, repeated, 2)
    await pieces.evict?.(2)
    expect(filesOf().size).toBe(0)
  })

  test('two descriptors are enough, and none stays open', async () => {
    const large = sample(
      'large',
      Array.from({ length: 20 }, (_, i) => 100 + i),
    )
    const pieces = await open(large, createStorage({ maxOpenFiles: 2 }))
    const all = Array.from({ length: 20 }, (_, i) => i)
    await Promise.all(all.map((piece) => fill(pieces, large, [piece])))
    await Promise.all(all.map((piece) => expectPiece(pieces, large, piece)))
    expect((await openFiles(directory)).length).toBeLessThanOrEqual(2)
    for (const piece of all) await pieces.evict?.(piece)
    expect(await openFiles(directory)).toEqual([])
    await fill(pieces, large, [0])
    await pieces.close()
    expect(await openFiles(directory)).toEqual([])
  })

  test('a process without descriptors costs a call, not a piece', async () => {
    const pieces = await open(film, createStorage({ syncIntervalMs: 0 }))
    await fill(pieces, film, [0, 1])
    await pieces.close()
    const again = await open(film, createStorage({ syncIntervalMs: 0 }))
    const original = RootDirectory.prototype.open
    let failing = 3
    const opening = vi.spyOn(RootDirectory.prototype, 'open').mockImplementation(function (
      this: RootDirectory,
      ...given
    ) {
      if (failing-- <= 0) return original.apply(this, given)
      return Promise.reject(Object.assign(new Error('too many open files'), { code: 'EMFILE' }))
    })
    onTestFinished(() => opening.mockRestore())
    const failed = { code: 'ISTHMUS_STORAGE_FAILED' }
    await expect(again.read({ start: 0, end: PIECE })).rejects.toMatchObject(failed)
    await expect(fill(again, film, [2])).rejects.toMatchObject(failed)
    await expect(again.read({ start: 0, end: PIECE })).rejects.toMatchObject(failed)
    await expectPiece(again, film, 0)
    await fill(again, film, [2])
    // What is synced in the background tries again.
    failing = 5
    await vi.waitFor(async () => expect((await again.state()).verified.count).toBe(3))
    await again.close()
    expect(await keptOf(film)).toEqual({ present: '1110', verified: '1110' })
  })

  test('numbers that make no sense are refused', () => {
    for (const options of [
      { maxBytes: 0 },
      { maxBytes: 1.5 },
      { maxOpenFiles: 0 },
      { syncIntervalMs: -1 },
    ]) {
      expect(() => createStorage(options)).toThrow(RangeError)
    }
  })
})

describe('PieceFileStorage and torrents with equal pieces', () => {
  test('what one torrent brought is there for the next one, verified, in one file', async () => {
    await keep(film, [0, 2, 3])
    const pieces = await open(sequel)
    expect(await stateOf(pieces)).toEqual({ present: '110', verified: '110' })
    await expectPiece(pieces, sequel, 0)
    expect(filesOf().size).toBe(3)
  })

  test('what another torrent brings meanwhile is seen when it is wanted, and told', async () => {
    const storage = createStorage()
    const mine = await open(sequel, storage)
    const told: unknown[] = []
    mine.watch?.((piece, present) => told.push([piece, present]))
    const theirs = await open(film, storage)
    await fill(theirs, film, [2, 3])
    await expectMissing(mine, 0)
    mine.want?.([0, 2])
    await vi.waitFor(() => expect(told).toEqual([[0, true]]))
    await expectPiece(mine, sequel, 0)
    expect((await stateOf(mine)).present).toBe('110')
  })

  test('a piece that two fill at a time is one file, and stays until both let go', async () => {
    const storage = createStorage()
    const one = await open(film, storage)
    const other = await open(sequel, storage)
    await Promise.all([fill(one, film, [2]), fill(other, sequel, [0])])
    expect(filesOf().size).toBe(1)
    expect(bytesOnDisk()).toBe(PIECE)
    await one.evict?.(2)
    expect((await stateOf(one)).present).toBe('0000')
    await expectMissing(one, 2)
    await expectPiece(other, sequel, 0)
    await other.evict?.(0)
    expect(filesOf().size).toBe(0)
  })

  test('writing over a shared piece leaves the other torrent what it has', async () => {
    const storage = createStorage()
    const one = await open(film, storage)
    await fill(one, film, [2])
    const other = await open(sequel, storage)
    await one.write?.(2 * PIECE + 5, new Uint8Array(10))
    await expectPiece(other, sequel, 0)
    const mine = await one.read({ start: 2 * PIECE, end: 3 * PIECE })
    const changed = pieceOf(film, 2).fill(0, 5, 15)
    expect(Buffer.compare(mine, changed)).toBe(0)
    // As somebody would who found it wrong: the other one reads the new file then.
    await fill(one, film, [2])
    await expectPiece(one, film, 2)
    await expectPiece(other, sequel, 0)
    expect(filesOf().size).toBe(1)
  })

  test('destroying leaves what an open torrent sees, and takes what a closed one left', async () => {
    const storage = createStorage()
    await keep(sequel, [0, 1, 2])
    const destroyed = await open(film, storage)
    const other = await open(sequel, storage)
    await other.evict?.(1)
    await fill(destroyed, film, [0, 1, 2, 3])
    await destroyed.destroy?.()
    await expectPiece(other, sequel, 0)
    const left = [0, 2].map((piece) => nameOf(sequel, piece)).sort()
    expect([...filesOf().keys()].map((path) => path.slice(3)).sort()).toEqual(left)
  })

  test('namespaces have files of their own, over restarts too', async () => {
    const storage = createStorage()
    const mine = await open(film, storage, { namespace: 'mine' })
    await fill(mine, film, [2])
    for (const options of [{}, { namespace: 'theirs' }]) {
      const theirs = await open(sequel, storage, options)
      theirs.want?.([0])
      expect(await stateOf(theirs)).toEqual({ present: '000', verified: '000' })
    }
    await fill(await open(film, storage), film, [2])
    expect(filesOf().size).toBe(2)
    for (const pieces of opened) await pieces.close()
    const again = createStorage()
    const kept = await open(film, again, { namespace: 'mine' })
    expect(await stateOf(kept)).toEqual({ present: '0010', verified: '0010' })
    const none = await open(film, again, { namespace: 'theirs' })
    expect(await stateOf(none)).toEqual({ present: '0000', verified: '0000' })
  })
})

describe('PieceFileStorage after a stop', () => {
  test('what was committed and closed is verified', async () => {
    await keep(film, [0, 3])
    expect(await keptOf(film)).toEqual({ present: '1001', verified: '1001' })
  })

  test('after an unclean stop only what was synced is verified', async () => {
    const pieces = await open(film, createStorage({ syncIntervalMs: 1 }))
    await fill(pieces, film, [0, 1])
    await vi.waitFor(async () => expect((await pieces.state()).verified.count).toBe(2))
    const index = await readFile(join(directory, '.isthmus', 'pieces.index'))
    await fill(pieces, film, [2])
    await pieces.close()
    // As if the power had gone before the second batch.
    await writeFile(join(directory, '.isthmus', 'pieces.index'), index)
    expect(await keptOf(film)).toEqual({ present: '1110', verified: '1100' })
  })

  test('what is committed after a check is verified again, and stays so', async () => {
    await keep(film, [0, 1])
    await rm(join(directory, '.isthmus'), { recursive: true })
    const pieces = await open(film)
    expect(await stateOf(pieces)).toEqual({ present: '1100', verified: '0000' })
    await pieces.commit?.(1)
    await pieces.close()
    expect(await keptOf(film)).toEqual({ present: '1100', verified: '0100' })
  })

  test('a piece that was found wrong is replaced by writing it again', async () => {
    await keep(film, [0])
    await writeFile(pathOf(film, 0), randomBytes(PIECE, 99))
    const pieces = await open(film)
    expect(await stateOf(pieces)).toEqual({ present: '1000', verified: '0000' })
    await fill(pieces, film, [0])
    await expectPiece(pieces, film, 0)
    await pieces.close()
    expect(await keptOf(film)).toEqual({ present: '1000', verified: '1000' })
  })

  test.each([
    ['touched', (path: string) => utimes(path, new Date(), new Date(Date.now() + 5000)), '1100'],
    ['cut', (path: string) => truncate(path, 100), '0100'],
    ['longer', (path: string) => appendFile(path, 'x'), '0100'],
    ['deleted', (path: string) => rm(path), '0100'],
  ])('a piece whose file was %s is not verified', async (_, change, present) => {
    await keep(film, [0, 1])
    await change(pathOf(film, 0))
    expect(await keptOf(film)).toEqual({ present, verified: '0100' })
  })

  test('a piece whose file was replaced by one of the same size and time is not verified', async () => {
    await keep(film, [0, 1])
    const path = pathOf(film, 0)
    const { atime, mtime } = await stat(path)
    await writeFile(`${path}.new`, randomBytes(PIECE, 99))
    await utimes(`${path}.new`, atime, mtime)
    await rename(`${path}.new`, path)
    expect(await keptOf(film)).toEqual({ present: '1100', verified: '0100' })
  })

  test.each([
    ['cut within its first line', (bytes: Uint8Array) => bytes.slice(0, 10)],
    ['empty', () => new Uint8Array(0)],
    ['of another format', () => new TextEncoder().encode('{"version":9}\n')],
    ['damaged in the middle', (bytes: Uint8Array) => bytes.with(60, bytes[60] === 49 ? 50 : 49)],
  ])('an index that is %s is put aside and costs a check', async (_, damage) => {
    await keep(film, [0])
    const path = join(directory, '.isthmus', 'pieces.index')
    const later = await open(film, createStorage({ syncIntervalMs: 0 }))
    await fill(later, film, [1])
    await vi.waitFor(async () => expect((await later.state()).verified.count).toBe(2))
    const bytes = await readFile(path)
    await later.close()
    await writeFile(path, damage(bytes))
    expect(await keptOf(film)).toEqual({ present: '1100', verified: '0000' })
    expect((await lstat(`${path}.bad`)).isFile()).toBe(true)
  })

  test('of an index that lost its end, only what stood there is not verified', async () => {
    await keep(film, [0])
    const path = join(directory, '.isthmus', 'pieces.index')
    const later = await open(film, createStorage({ syncIntervalMs: 0 }))
    await fill(later, film, [1])
    await vi.waitFor(async () => expect((await later.state()).verified.count).toBe(2))
    const bytes = await readFile(path)
    await later.close()
    await writeFile(path, bytes.subarray(0, -20))
    expect(await keptOf(film)).toEqual({ present: '1100', verified: '1000' })
    // And it goes on from there.
    const again = await open(film)
    await again.commit?.(1)
    await again.close()
    expect(await keptOf(film)).toEqual({ present: '1100', verified: '1100' })
  })
})

describe('PieceFileStorage and files that change while they are open', () => {
  test.each([
    ['cut', (path: string) => truncate(path, 100)],
    ['written to', (path: string) => writeFile(path, randomBytes(PIECE, 99))],
    ['longer', (path: string) => appendFile(path, 'x')],
  ])('a piece whose file is %s is missing, and all who see it are told', async (_, change) => {
    const storage = createStorage()
    const pieces = await open(film, storage)
    await fill(pieces, film, [2])
    const other = await open(sequel, storage)
    const told: unknown[] = []
    other.watch?.((piece, present) => told.push([piece, present]))
    await expectPiece(pieces, film, 2)
    await utimes(pathOf(film, 2), 1, 1)
    await change(pathOf(film, 2))
    await expectMissing(pieces, 2)
    expect(told).toEqual([[0, false]])
    expect((await stateOf(other)).present).toBe('000')
    await fill(pieces, film, [2])
    await expectPiece(pieces, film, 2)
  })

  test('a piece whose file was taken away is missing', async () => {
    const pieces = await open(film, createStorage({ maxOpenFiles: 1 }))
    await fill(pieces, film, [0, 1])
    await rm(join(directory, nameOf(film, 0).slice(0, 2)), { recursive: true })
    await expectMissing(pieces, 0)
    await expectPiece(pieces, film, 1)
    await fill(pieces, film, [0])
    await expectPiece(pieces, film, 0)
  })
})

describe('PieceFileStorage and its cap', () => {
  const four = 4 * PIECE
  const old = sample('old', [11, 12, 13, 14])

  test('what is left of closed torrents goes for what comes, least recently used first', async () => {
    await keep(old, [0, 1, 2, 3], four)
    const reading = await open(old, createStorage({ maxBytes: four }))
    await expectPiece(reading, old, 0)
    await reading.close()
    await keep(film, [0, 1], four)
    expect(await keptOf(old)).toEqual({ present: '1001', verified: '1001' })
    expect(await keptOf(film)).toEqual({ present: '1100', verified: '1100' })
    expect(bytesOnDisk()).toBe(four)
  })

  test('what an open torrent read goes after what it did not', async () => {
    const storage = createStorage({ maxBytes: four })
    await keep(old, [0, 1, 2, 3], four)
    const reading = await open(old, storage)
    await expectPiece(reading, old, 0)
    await expectPiece(reading, old, 1)
    await fill(await open(film, storage), film, [0, 1])
    expect((await stateOf(reading)).present).toBe('1100')
  })

  test('an open torrent is told of what goes, and reads it no more', async () => {
    const storage = createStorage({ maxBytes: four })
    await keep(old, [0, 1, 2, 3], four)
    const watching = await open(old, storage)
    const told: unknown[] = []
    const watch = watching.watch?.((piece, present) => told.push([piece, present]))
    const pieces = await open(film, storage)
    await fill(pieces, film, [0])
    expect(told).toEqual([[0, false]])
    await expectMissing(watching, 0)
    expect((await stateOf(watching)).present).toBe('0111')
    watch?.[Symbol.dispose]()
    await fill(pieces, film, [1])
    expect(told).toHaveLength(1)
  })

  test('what is wanted goes last, and of that the least urgent first', async () => {
    const storage = createStorage({ maxBytes: four })
    await keep(old, [0, 1, 2, 3], four)
    const reading = await open(old, storage)
    reading.want?.([0, 2, 1])
    // Used later than all of them, and wanted by nobody.
    await expectPiece(reading, old, 3)
    const pieces = await open(film, storage)
    const left: string[] = []
    for (const piece of [0, 1, 2, 3]) {
      await fill(pieces, film, [piece])
      left.push((await stateOf(reading)).present)
    }
    expect(left).toEqual(['1110', '1010', '1000', '0000'])
  })

  test('what an open torrent wrote stays until it is evicted or closed', async () => {
    const storage = createStorage({ maxBytes: four })
    const others = await open(old, storage)
    await fill(others, old, [0, 1])
    const mine = await open(film, storage)
    await fill(mine, film, [0, 1])
    await others.close()
    await fill(mine, film, [2, 3])
    expect(await stateOf(mine)).toMatchObject({ present: '1111' })
    expect(filesOf().size).toBe(4)
    await mine.close()
    await fill(await open(old, storage), old, [0])
    expect((await stateOf(await open(film, storage))).present).toBe('0111')
  })

  test('a lower cap is kept from the first opening on', async () => {
    await keep(old, [0, 1, 2, 3], four)
    const pieces = await open(old, createStorage({ maxBytes: 2 * PIECE }))
    expect((await stateOf(pieces)).present).toBe('0011')
    expect(bytesOnDisk()).toBe(2 * PIECE)
  })

  test('the cap holds though nobody asks for places', async () => {
    const large = sample(
      'large',
      Array.from({ length: 12 }, (_, i) => 300 + i),
    )
    const pieces = await open(large, createStorage({ maxBytes: four }))
    for (let piece = 0; piece < 12; piece++) {
      await fill(pieces, large, [piece])
      expect(bytesOnDisk()).toBeLessThanOrEqual(four)
    }
    expect((await stateOf(pieces)).present).toBe('000000001111')
  })

  test('a piece larger than the cap is kept alone', async () => {
    const large = makeTorrent({ files: randomBytes(2 * four, 7), pieceLength: 2 * four })
    await keep(old, [0, 1, 2, 3], four)
    const pieces = await createStorage({ maxBytes: four }).open(parseMetainfo(large.torrent))
    opened.push(pieces)
    await pieces.write?.(0, large.content.slice())
    await pieces.commit?.(0)
    expect(Buffer.compare(await pieces.read({ start: 0, end: 2 * four }), large.content)).toBe(0)
    expect(bytesOnDisk()).toBe(2 * four)
  })

  test('whatever is done, places keep the disk within the cap and reads answer the right bytes', async () => {
    const storage = createStorage({ maxBytes: 6 * PIECE, maxOpenFiles: 3, syncIntervalMs: 0 })
    const seeds = [
      [1, 2, 3, 4, 5],
      [4, 5, 6, 7, 1],
      [8, 2, 8, 9, 3],
    ]
    const samples = seeds.map((of, index) => sample(`torrent ${index}`, of))
    const runs = samples.map((of) => ({ of, places: new Map<number, Disposable>() }))
    const pieces = await Promise.all(samples.map((of) => open(of, storage)))
    const seed = Math.floor(Math.random() * 2 ** 31)
    const random = numbers(seed)
    const message = `seed ${seed}`
    for (let step = 0; step < 300; step++) {
      const index = random(runs.length)
      const run = runs[index]
      const torrent = pieces[index]
      if (run === undefined || torrent === undefined) continue
      const { of, places } = run
      const piece = random(5)
      const held = runs.reduce((sum, { places: { size } }) => sum + size, 0)
      const choice = random(10)
      if (choice < 5 && (places.has(piece) || held < 6)) {
        const place = places.get(piece) ?? (await torrent.capacity?.reserve(PIECE))
        if (place !== undefined) places.set(piece, place)
        await fill(torrent, of, [piece])
      } else if (choice < 7) {
        await torrent.evict?.(piece)
        places.get(piece)?.[Symbol.dispose]()
        places.delete(piece)
      } else if (choice < 8) {
        for (const place of places.values()) place[Symbol.dispose]()
        places.clear()
        const closing = torrent.close()
        pieces[index] = await open(of, storage)
        await closing
      } else {
        torrent.want?.([piece, random(5)])
      }
      expect(bytesOnDisk(), message).toBeLessThanOrEqual(6 * PIECE)
      const now = pieces[index] ?? torrent
      const { present } = await now.state()
      for (let other = 0; other < 5; other++) {
        if (present.has(other)) await expectPiece(now, of, other)
        else expect(places.has(other), message).toBe(false)
      }
    }
  })
})

describe('PieceFileStorage and symbolic links', () => {
  let outside = ''
  beforeEach(async () => {
    outside = await mkdtemp(join(tmpdir(), 'isthmus-outside-'))
    await writeFile(join(outside, 'one'), pieceOf(film, 0))
  })
  afterEach(() => rm(outside, { recursive: true }))

  test('a link in the place of a piece is none, and is replaced', async () => {
    await mkdir(join(directory, nameOf(film, 0).slice(0, 2)))
    await symlink(join(outside, 'one'), pathOf(film, 0))
    const pieces = await open(film)
    expect((await stateOf(pieces)).present).toBe('0000')
    await fill(pieces, film, [0])
    expect((await lstat(pathOf(film, 0))).isFile()).toBe(true)
    expect(await readdir(outside)).toEqual(['one'])
  })

  test('a link in the place of a folder is not written to, nor looked into', async () => {
    await writeFile(join(outside, nameOf(film, 0)), pieceOf(film, 0))
    await symlink(outside, join(directory, nameOf(film, 0).slice(0, 2)))
    const pieces = await open(film)
    expect((await stateOf(pieces)).present).toBe('0000')
    await expect(fill(pieces, film, [0])).rejects.toMatchObject({ code: 'ISTHMUS_PATH_UNSAFE' })
    await fill(pieces, film, [1])
    expect((await readdir(outside)).sort()).toEqual([nameOf(film, 0), 'one'].sort())
  })

  test('a link in the place of the folder of the index is refused', async () => {
    await symlink(outside, join(directory, '.isthmus'))
    await expect(open(film)).rejects.toMatchObject({ code: 'ISTHMUS_PATH_UNSAFE' })
    await symlink(outside, join(directory, '.namespaces'))
    await rm(join(directory, '.isthmus'))
    const storage = createStorage()
    await open(film, storage)
    await expect(open(film, storage, { namespace: 'mine' })).rejects.toMatchObject({
      code: 'ISTHMUS_PATH_UNSAFE',
    })
    expect(await readdir(outside)).toEqual(['one'])
  })
})

describe('PieceFileStorage on a full disk', () => {
  const run = promisify(execFile)
  const mountable = process.platform === 'linux' && process.getuid?.() === 0

  test.skipIf(!mountable)(
    'spare pieces make room, then writing rejects with ISTHMUS_STORAGE_FULL until there is some',
    async ({ skip }) => {
      const mounted = await run('mount', [
        '-t',
        'tmpfs',
        '-o',
        'size=640k',
        'tmpfs',
        directory,
      ]).then(
        () => true,
        () => false,
      )
      if (!mounted) skip('a small file system cannot be mounted here')
      try {
        const count = 48
        const large = sample(
          'large',
          Array.from({ length: count }, (_, i) => 200 + i),
        )
        await writeFile(join(directory, 'ballast'), new Uint8Array(100 * 1024))
        await keep(film, [0, 1, 2, 3])
        const pieces = await open(large, createStorage({ syncIntervalMs: 60_000 }))
        let full = 0
        let failure: unknown
        for (; full < count && failure === undefined; full++) {
          await fill(pieces, large, [full]).catch((error: unknown) => {
            failure = error
          })
        }
        full--
        expect(failure).toMatchObject({ code: 'ISTHMUS_STORAGE_FULL' })
        expect((failure as Error).cause).toMatchObject({ code: 'ENOSPC' })
        expect((await pieces.state()).present.count).toBe(full)
        // Nothing of the spare ones is left, and nothing of the piece that failed.
        expect(filesOf().size).toBe(full + 1)
        await expectPiece(pieces, large, full - 1)
        await rm(join(directory, 'ballast'))
        await fill(pieces, large, [full])
        await expectPiece(pieces, large, full)
        await pieces.close()
        expect((await keptOf(large)).verified).toBe('1'.repeat(full + 1).padEnd(count, '0'))
      } finally {
        for (const pieces of opened) await pieces.close().catch(() => {})
        await run('umount', [directory])
      }
    },
  )
})

/** Pseudo-random integers below a bound. */
function numbers(seed: number): (below: number) => number {
  let state = seed | 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

/** Descriptors of this process that lead below `where`; none where the system does not say. */
async function openFiles(where: string): Promise<string[]> {
  const descriptors = await readdir('/proc/self/fd').catch(() => [])
  const targets = await Promise.all(
    descriptors.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  )
  return targets.filter((target) => target.startsWith(where))
}
