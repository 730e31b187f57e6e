import {
  mkdir,
  mkdtemp,
  readdir,
  readlink,
  rename,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { makeTorrent, randomBytes } from '../../../../test/support/torrents.ts'
import { storageConformance } from '../conformance/storage.ts'
import { parseMetainfo } from '../metainfo/metainfo.ts'
import { FolderStorage } from './folder-storage.ts'

const PIECE = 16_384
const files = [
  { path: ['a'], bytes: randomBytes(PIECE, 1) },
  { path: ['folder', 'b'], bytes: randomBytes(PIECE + 5, 2) },
  { path: ['folder', 'empty'], bytes: new Uint8Array(0) },
  { path: ['c'], bytes: randomBytes(2 * PIECE, 3) },
]
const { torrent, content } = makeTorrent({ name: 'shared', files, pieceLength: PIECE })
const metainfo = parseMetainfo(torrent)

async function makeFolder(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'isthmus-folder-'))
  for (const { path, bytes } of files) {
    const file = join(directory, 'shared', ...path)
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, bytes)
  }
  return directory
}

describe('FolderStorage keeps the storage contract', () => {
  const setup = async () => {
    const directory = await makeFolder()
    return {
      open: async () => new FolderStorage({ directory }),
      provided: { metainfo, content },
      dispose: () => rm(directory, { recursive: true }),
    }
  }
  const traits = { persists: true, without: ['write', 'evict', 'destroy', 'capacity'] as const }
  for (const { name, run } of storageConformance(setup, traits)) test(name, run)
})

describe('FolderStorage', () => {
  let directory = ''
  beforeEach(async () => {
    directory = await makeFolder()
  })
  afterEach(() => rm(directory, { recursive: true }))

  async function presence(): Promise<string> {
    await using pieces = await new FolderStorage({ directory }).open(metainfo)
    const { present, verified } = await pieces.state()
    expect(verified.count).toBe(0)
    return Array.from({ length: present.length }, (_, i) => (present.has(i) ? '1' : '0')).join('')
  }

  test('is mutable, and nothing in it is verified', async () => {
    await using pieces = await new FolderStorage({ directory }).open(metainfo)
    expect(pieces.trust).toBe('mutable')
    expect(pieces.write).toBeUndefined()
    expect(await presence()).toBe('11111')
  })

  test('a file that is missing, or of another size, takes its pieces away', async () => {
    await truncate(join(directory, 'shared', 'folder', 'b'), PIECE)
    expect(await presence()).toBe('10011')
    await rm(join(directory, 'shared', 'folder'), { recursive: true })
    expect(await presence()).toBe('10011')
    await writeFile(join(directory, 'shared', 'a'), randomBytes(PIECE + 1, 9))
    expect(await presence()).toBe('00011')
  })

  test('reading what is missing or too short rejects with ISTHMUS_PIECE_MISSING', async () => {
    await truncate(join(directory, 'shared', 'folder', 'b'), 10)
    await rm(join(directory, 'shared', 'c'))
    await using pieces = await new FolderStorage({ directory }).open(metainfo)
    const missing = { code: 'ISTHMUS_PIECE_MISSING' }
    await expect(pieces.read({ start: PIECE, end: PIECE + 11 })).rejects.toMatchObject(missing)
    await expect(pieces.read({ start: 3 * PIECE, end: 3 * PIECE + 1 })).rejects.toMatchObject(
      missing,
    )
    expect(await pieces.read({ start: 0, end: PIECE + 10 })).toEqual(content.slice(0, PIECE + 10))
  })

  test('a file that shrinks while it is open is not read as zeros', async () => {
    await using pieces = await new FolderStorage({ directory }).open(metainfo)
    await pieces.read({ start: 0, end: PIECE })
    await truncate(join(directory, 'shared', 'a'), 100)
    await expect(pieces.read({ start: 0, end: PIECE })).rejects.toMatchObject({
      code: 'ISTHMUS_PIECE_MISSING',
    })
  })

  test('a symbolic link in place of a file or a folder is not followed', async () => {
    const outside = await mkdtemp(join(tmpdir(), 'isthmus-outside-'))
    try {
      await rename(join(directory, 'shared', 'a'), join(outside, 'a'))
      await symlink(join(outside, 'a'), join(directory, 'shared', 'a'))
      await rename(join(directory, 'shared', 'folder'), join(outside, 'folder'))
      await symlink(join(outside, 'folder'), join(directory, 'shared', 'folder'))
      expect(await presence()).toBe('00011')
      await using pieces = await new FolderStorage({ directory }).open(metainfo)
      for (const start of [0, PIECE]) {
        await expect(pieces.read({ start, end: start + 1 })).rejects.toMatchObject({
          code: 'ISTHMUS_PIECE_MISSING',
        })
      }
    } finally {
      await rm(outside, { recursive: true })
    }
  })

  test('what is no regular file is not waited for', async () => {
    await rm(join(directory, 'shared', 'a'))
    await mkdir(join(directory, 'shared', 'a'))
    expect(await presence()).toBe('01111')
    await using pieces = await new FolderStorage({ directory }).open(metainfo)
    await expect(pieces.read({ start: 0, end: 1 })).rejects.toMatchObject({
      code: 'ISTHMUS_PIECE_MISSING',
    })
  })

  test('a folder that is not there rejects with ISTHMUS_STORAGE_FAILED', async () => {
    const storage = new FolderStorage({ directory: join(directory, 'nowhere') })
    await expect(storage.open(metainfo)).rejects.toMatchObject({ code: 'ISTHMUS_STORAGE_FAILED' })
  })

  test('two torrents of one folder read with one open file, and leave none behind', async () => {
    const before = await descriptors()
    const storage = new FolderStorage({ directory, maxOpenFiles: 1 })
    const one = await storage.open(metainfo)
    const two = await storage.open(metainfo)
    const span = { start: 0, end: content.length }
    const answers = await Promise.all([one, two, one, two].map((pieces) => pieces.read(span)))
    for (const answer of answers) expect(Buffer.compare(answer, content)).toBe(0)
    expect((await descriptors()) - before).toBeLessThanOrEqual(1)
    await one.close()
    await two.close()
    expect(await descriptors()).toBe(before)
  })
})

/** How many descriptors lead below the temporary directory; 0 where the system does not say. */
async function descriptors(): Promise<number> {
  const open = await readdir('/proc/self/fd').catch(() => [])
  const targets = await Promise.all(
    open.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  )
  return targets.filter((target) => target.includes('isthmus-folder-')).length
}
