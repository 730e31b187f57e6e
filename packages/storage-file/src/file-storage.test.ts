import { execFile } from 'node:child_process'
import {
  cp,
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
import { type Bitfield, type Metainfo, type PieceStorage, parseMetainfo } from '@isthmus/core'
import { storageConformance } from '@isthmus/core/conformance'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { makeTorrent, randomBytes } from '../../../test/support/torrents.ts'
import { FileStorage } from './file-storage.ts'

const PIECE = 16_384

/** Three files of two pieces each, so that every piece has its own file, and an empty one. */
const files = [
  { path: ['one'], bytes: randomBytes(2 * PIECE, 1) },
  { path: ['sub', 'two'], bytes: randomBytes(2 * PIECE, 2) },
  { path: ['sub', 'deep', 'empty'], bytes: new Uint8Array(0) },
  { path: ['three'], bytes: randomBytes(2 * PIECE, 3) },
]
const made = makeTorrent({ name: 'film', files, pieceLength: PIECE })
const metainfo = parseMetainfo(made.torrent)
const { content } = made

let directory = ''
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'isthmus-file-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

describe('FileStorage keeps the storage contract', () => {
  const setup = async () => {
    const own = await mkdtemp(join(tmpdir(), 'isthmus-file-'))
    return {
      open: async () => new FileStorage({ directory: own, syncIntervalMs: 0 }),
      dispose: () => rm(own, { recursive: true }),
    }
  }
  const traits = { persists: true, without: ['capacity'] as const }
  for (const { name, run } of storageConformance(setup, traits)) test(name, run)
})

describe('FileStorage and what is on the disk', () => {
  test('a complete torrent is its own files, byte for byte', async () => {
    await complete(directory)
    for (const { path, bytes } of files) {
      expect(Buffer.compare(await readFile(join(directory, 'film', ...path)), bytes)).toBe(0)
    }
    expect((await readdir(directory)).sort()).toEqual(['.isthmus', 'film'])
  })

  test('an empty file is there as soon as the torrent is open', async () => {
    const pieces = await new FileStorage({ directory }).open(metainfo)
    expect((await stat(join(directory, 'film', 'sub', 'deep', 'empty'))).size).toBe(0)
    await pieces.close()
  })

  test('what was not written takes no room', async () => {
    const torrent = makeTorrent({
      name: 'large',
      files: randomBytes(8 * 1024 * 1024, 4),
      pieceLength: 1024 * 1024,
    })
    const pieces = await new FileStorage({ directory }).open(parseMetainfo(torrent.torrent))
    const offset = 7 * 1024 * 1024
    await pieces.write?.(offset, torrent.content.slice(offset))
    await pieces.close()
    const { size, blocks } = await stat(join(directory, 'large'))
    expect(size).toBe(8 * 1024 * 1024)
    expect(blocks * 512).toBeLessThan(2 * 1024 * 1024)
  })

  test('a torrent of the same name gets a folder called like its info hash', async () => {
    await complete(directory)
    const other = makeTorrent({
      name: 'FILM',
      files: [{ path: ['one'], bytes: randomBytes(5, 5) }],
      pieceLength: PIECE,
    })
    const pieces = await new FileStorage({ directory }).open(parseMetainfo(other.torrent))
    await pieces.write?.(0, other.content.slice())
    await pieces.close()
    const own = await readFile(join(directory, other.infoHash, 'FILM', 'one'))
    expect(Buffer.compare(own, other.content)).toBe(0)
    expect(
      Buffer.compare(await readFile(join(directory, 'film', 'one')), files[0]?.bytes ?? own),
    ).toBe(0)
  })

  test('a torrent cannot be given the names that are kept for others', async () => {
    for (const name of ['.isthmus', '.namespaces', made.infoHash]) {
      const bad = makeTorrent({
        name,
        files: [{ path: [`${made.infoHash}.state`], bytes: randomBytes(9, 6) }],
        pieceLength: PIECE,
      })
      const pieces = await new FileStorage({ directory }).open(parseMetainfo(bad.torrent))
      await pieces.write?.(0, bad.content.slice())
      await pieces.close()
      const own = await readFile(join(directory, bad.infoHash, name, `${made.infoHash}.state`))
      expect(Buffer.compare(own, bad.content)).toBe(0)
    }
  })

  test('destroying leaves what others put beside, and no empty folder', async () => {
    await complete(directory)
    await writeFile(join(directory, 'film', 'sub', 'note'), 'mine')
    const pieces = await new FileStorage({ directory }).open(metainfo)
    await pieces.destroy?.()
    expect(await tree(directory)).toEqual(['film/sub/note'])
  })

  test('opening a torrent that is open rejects; after closing it opens', async () => {
    const storage = new FileStorage({ directory })
    const pieces = await storage.open(metainfo)
    await expect(storage.open(metainfo)).rejects.toMatchObject({ code: 'ISTHMUS_STORAGE_FAILED' })
    const closing = pieces.close()
    const again = await storage.open(metainfo)
    await closing
    await again.close()
  })

  test('two files are enough to fill and read fifty, and none stays open', async () => {
    const many = makeTorrent({
      name: 'many',
      files: Array.from({ length: 50 }, (_, i) => ({
        path: [`${i % 7}`, `file ${i}`],
        bytes: randomBytes(1000 + i, i),
      })),
      pieceLength: PIECE,
    })
    const storage = new FileStorage({ directory, maxOpenFiles: 2 })
    const pieces = await storage.open(parseMetainfo(many.torrent))
    const spans = Array.from({ length: 80 }, (_, i) => ({
      start: Math.floor((i * many.content.length) / 80),
      end: Math.floor(((i + 1) * many.content.length) / 80),
    }))
    await Promise.all(
      spans.map(({ start, end }) => pieces.write?.(start, many.content.slice(start, end))),
    )
    const answers = await Promise.all(spans.map((span) => pieces.read(span)))
    expect(Buffer.compare(Buffer.concat(answers), many.content)).toBe(0)
    expect((await openFiles(directory)).length).toBeLessThanOrEqual(2)
    await pieces.close()
    expect(await openFiles(directory)).toEqual([])
  })
})

describe('FileStorage after a stop', () => {
  test('what was committed and closed is verified, without a word about the rest', async () => {
    await complete(directory, [0, 3])
    expect(await stateOf(directory)).toEqual({ present: '100100', verified: '100100' })
  })

  test('after an unclean stop only what was synced is verified', async () => {
    const storage = new FileStorage({ directory, syncIntervalMs: 1 })
    const pieces = await storage.open(metainfo)
    await fill(pieces, [0, 1])
    await vi.waitFor(async () => expect((await pieces.state()).verified.count).toBe(2))
    // To the file of pieces 2 and 3, and synced by nobody.
    await write(pieces, 2)
    const elsewhere = `${directory}-stopped`
    await rename(directory, elsewhere)
    try {
      expect(await stateOf(elsewhere)).toEqual({ present: '111000', verified: '110000' })
    } finally {
      await pieces.close().catch(() => {})
      await rm(elsewhere, { recursive: true })
    }
  })

  test('a copy of the files is present, and verified by nobody', async () => {
    await complete(directory)
    const copy = `${directory}-copy`
    await cp(directory, copy, { recursive: true, preserveTimestamps: true })
    try {
      expect(await stateOf(copy)).toEqual({ present: '111111', verified: '000000' })
    } finally {
      await rm(copy, { recursive: true })
    }
  })

  test('a file that was cut loses what is gone, and the verification of the rest', async () => {
    await complete(directory)
    await truncate(join(directory, 'film', 'sub', 'two'), PIECE + 1)
    expect(await stateOf(directory)).toEqual({ present: '111011', verified: '110011' })
  })

  test('a file that was changed is present, and verified no more', async () => {
    await complete(directory)
    const path = join(directory, 'film', 'three')
    await utimes(path, new Date(), new Date(Date.now() + 5000))
    expect(await stateOf(directory)).toEqual({ present: '111111', verified: '111100' })
  })

  test('a file that was replaced by one of the same size and time is verified no more', async () => {
    await complete(directory)
    const path = join(directory, 'film', 'one')
    const { atime, mtime } = await stat(path)
    await writeFile(`${path}.new`, randomBytes(2 * PIECE, 99))
    await rename(`${path}.new`, path)
    await utimes(path, atime, mtime)
    expect(await stateOf(directory)).toEqual({ present: '111111', verified: '001111' })
  })

  test('a file that was deleted is missing', async () => {
    await complete(directory)
    await rm(join(directory, 'film', 'one'))
    expect(await stateOf(directory)).toEqual({ present: '001111', verified: '001111' })
  })

  test('files without a state are present as far as they go', async () => {
    await complete(directory)
    await rm(join(directory, '.isthmus'), { recursive: true })
    await truncate(join(directory, 'film', 'three'), PIECE)
    expect(await stateOf(directory)).toEqual({ present: '111110', verified: '000000' })
  })

  test('what is committed after a check is verified again, and stays so', async () => {
    await complete(directory)
    await rm(join(directory, '.isthmus'), { recursive: true })
    const pieces = await new FileStorage({ directory }).open(metainfo)
    await pieces.commit?.(4)
    await pieces.close()
    expect(await stateOf(directory)).toEqual({ present: '111111', verified: '000010' })
  })

  test.each([
    ['cut', (bytes: Uint8Array) => bytes.slice(0, 100)],
    ['empty', () => new Uint8Array(0)],
    ['of another format', () => new TextEncoder().encode('{"version":9}')],
    ['changed by one byte', (bytes: Uint8Array) => bytes.with(bytes.length - 20, 66)],
    ['far too large', () => new Uint8Array(1_000_000)],
  ])('a state that is %s is put aside and costs a check', async (_, damage) => {
    await complete(directory)
    const path = join(directory, '.isthmus', `${made.infoHash}.state`)
    await writeFile(path, damage(await readFile(path)))
    expect(await stateOf(directory)).toEqual({ present: '111111', verified: '000000' })
    expect((await lstat(`${path}.bad`)).isFile()).toBe(true)
  })

  test('a file that is cut while open answers ISTHMUS_PIECE_MISSING, never zeros', async () => {
    await complete(directory)
    const pieces = await new FileStorage({ directory }).open(metainfo)
    await pieces.read({ start: 0, end: 2 * PIECE })
    await truncate(join(directory, 'film', 'one'), PIECE)
    await expect(pieces.read({ start: PIECE, end: 2 * PIECE })).rejects.toMatchObject({
      code: 'ISTHMUS_PIECE_MISSING',
    })
    expect(bits((await pieces.state()).present)).toBe('101111')
    await pieces.close()
  })
})

describe('FileStorage and symbolic links', () => {
  let outside = ''
  beforeEach(async () => {
    outside = await mkdtemp(join(tmpdir(), 'isthmus-outside-'))
    await writeFile(join(outside, 'one'), 'not ours')
  })
  afterEach(() => rm(outside, { recursive: true }))

  test.each([
    ['a file', ['film', 'one'], 'one'],
    ['a folder', ['film', 'sub'], ''],
    ['the folder of the torrent', ['film'], ''],
    ['the folder of the states', ['.isthmus'], ''],
  ])('a link in the place of %s is refused when opening', async (_, path, target) => {
    await mkdir(join(directory, ...path.slice(0, -1)), { recursive: true })
    await symlink(join(outside, target), join(directory, ...path))
    const opening = new FileStorage({ directory }).open(metainfo)
    await expect(opening).rejects.toMatchObject({ code: 'ISTHMUS_PATH_UNSAFE' })
    expect(await tree(outside)).toEqual(['one'])
  })

  test('a link that is planted while the torrent is open is refused when writing', async () => {
    const pieces = await new FileStorage({ directory }).open(metainfo)
    await symlink(join(outside, 'one'), join(directory, 'film', 'one'))
    await rm(join(directory, 'film', 'sub'), { recursive: true })
    await symlink(outside, join(directory, 'film', 'sub'))
    const unsafe = { code: 'ISTHMUS_PATH_UNSAFE' }
    await expect(write(pieces, 0)).rejects.toMatchObject(unsafe)
    await expect(write(pieces, 2)).rejects.toMatchObject(unsafe)
    expect(await readFile(join(outside, 'one'), 'utf8')).toBe('not ours')
    expect(await tree(outside)).toEqual(['one'])
    await pieces.destroy?.().catch(() => {})
    await pieces.close().catch(() => {})
    expect(await tree(outside)).toEqual(['one'])
  })

  test('a link in the place of a state is put aside, not read', async () => {
    await complete(directory)
    const path = join(directory, '.isthmus', `${made.infoHash}.state`)
    await rename(path, join(outside, 'state'))
    await symlink(join(outside, 'state'), path)
    expect(await stateOf(directory)).toEqual({ present: '111111', verified: '000000' })
    expect((await lstat(path).catch(() => undefined))?.isSymbolicLink() ?? false).toBe(false)
  })
})

describe('FileStorage on a full disk', () => {
  const run = promisify(execFile)
  const mountable = process.platform === 'linux' && process.getuid?.() === 0

  test.skipIf(!mountable)(
    'writing rejects with ISTHMUS_STORAGE_FULL, what was there stays, and writing goes on once there is room',
    async ({ skip }) => {
      const mounted = await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory]).then(
        () => true,
        () => false,
      )
      if (!mounted) skip('a small file system cannot be mounted here')
      try {
        const large = makeTorrent({
          name: 'large',
          files: randomBytes(2 * 1024 * 1024, 7),
          pieceLength: 64 * 1024,
        })
        const ballast = join(directory, 'ballast')
        await writeFile(ballast, new Uint8Array(200 * 1024))
        const storage = new FileStorage({ directory, syncIntervalMs: 60_000 })
        const pieces = await storage.open(parseMetainfo(large.torrent))
        const writePiece = async (piece: number) => {
          const start = piece * 64 * 1024
          await pieces.write?.(start, large.content.slice(start, start + 64 * 1024))
          await pieces.commit?.(piece)
        }
        let full = 0
        let failure: unknown
        for (; full < 32 && failure === undefined; full++) {
          await writePiece(full).catch((error: unknown) => {
            failure = error
          })
        }
        full--
        expect(failure).toMatchObject({ code: 'ISTHMUS_STORAGE_FULL' })
        expect((failure as Error).cause).toMatchObject({ code: 'ENOSPC' })
        const there = { start: 0, end: full * 64 * 1024 }
        expect(Buffer.compare(await pieces.read(there), large.content.slice(0, there.end))).toBe(0)
        expect((await pieces.state()).present.has(full)).toBe(false)
        await rm(ballast)
        await writePiece(full)
        await pieces.close()
        const again = await storage.open(parseMetainfo(large.torrent))
        const { present, verified } = await again.state()
        expect(verified.count).toBe(full + 1)
        expect(present.count).toBe(full + 1)
        await again.close()
      } finally {
        await run('umount', [directory])
      }
    },
  )
})

async function write(pieces: PieceStorage, piece: number): Promise<void> {
  await pieces.write?.(piece * PIECE, content.slice(piece * PIECE, (piece + 1) * PIECE))
}

async function fill(pieces: PieceStorage, which: readonly number[]): Promise<void> {
  for (const piece of which) {
    await write(pieces, piece)
    await pieces.commit?.(piece)
  }
}

async function complete(where: string, which = [0, 1, 2, 3, 4, 5]): Promise<void> {
  const pieces = await new FileStorage({ directory: where }).open(metainfo)
  await fill(pieces, which)
  await pieces.close()
}

async function stateOf(where: string, of: Metainfo = metainfo) {
  const pieces = await new FileStorage({ directory: where }).open(of)
  const { present, verified } = await pieces.state()
  await pieces.close()
  return { present: bits(present), verified: bits(verified) }
}

function bits(bitfield: Bitfield): string {
  return Array.from({ length: bitfield.length }, (_, i) => (bitfield.has(i) ? '1' : '0')).join('')
}

/** All files below, without our own folder. */
async function tree(where: string): Promise<string[]> {
  const entries = await readdir(where, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(where.length + 1))
    .filter((path) => !path.startsWith('.isthmus'))
    .sort()
}

/** Descriptors of this process that lead below `where`; none where the system does not say. */
async function openFiles(where: string): Promise<string[]> {
  const descriptors = await readdir('/proc/self/fd').catch(() => [])
  const targets = await Promise.all(
    descriptors.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  )
  return targets.filter((target) => target.startsWith(where))
}
