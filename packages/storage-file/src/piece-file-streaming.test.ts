import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import {
  type ByteRange,
  Client,
  isErrno,
  type ReadOptions,
  type Torrent,
  type TorrentFile,
} from '@isthmus/core'
import { describe, expect, test, vi } from 'vitest'
import { endAfterTest, temporaryDirectory } from '../../../test/support/cleanup.ts'
import { ContentStorage } from '../../../test/support/content-storage.ts'
import { type MadeTorrent, makeTorrent, randomBytes } from '../../../test/support/torrents.ts'
import { PieceFileStorage } from './piece-file-storage.ts'

// Whole flows, on a machine that may have other things to do.
vi.setConfig({ testTimeout: 30_000 })

const KIB = 1024
const listen = { host: '127.0.0.1' }
// So that the storage is asked, and not what core keeps of it in memory.
const limits = { cacheBytes: 1 }

function made(name: string, files: Uint8Array, pieceLength: number): MadeTorrent {
  return makeTorrent({ name, files, pieceLength })
}

/** @returns the address of one who has all of the torrents. */
async function seed(...torrents: readonly MadeTorrent[]): Promise<string> {
  const client = endAfterTest(new Client({ listen, trackers: false }))
  for (const { torrent, content } of torrents) {
    await client.seed(torrent, new ContentStorage(content))
  }
  return `127.0.0.1:${client.address?.port}`
}

async function start(directory: string, maxBytes: number): Promise<Client> {
  const storage = new PieceFileStorage({ directory, maxBytes })
  return endAfterTest(new Client({ listen, trackers: false, storage, limits }))
}

async function add(client: Client, { torrent }: MadeTorrent, peers: string[]): Promise<Torrent> {
  const added = await client.add(torrent, { peers, announce: false })
  await added.ready()
  return added
}

async function read(file: TorrentFile, range: ByteRange, options?: ReadOptions): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of file.read(range, options)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function expectAll(torrent: Torrent, { content }: MadeTorrent): Promise<void> {
  const bytes = await read(torrent.file(0), { start: 0, end: content.length })
  expect(Buffer.compare(bytes, content)).toBe(0)
}

/** What the files of the cache take up now; those that vanish while we look count nothing. */
function bytesOnDisk(directory: string): number {
  let sum = 0
  for (const shard of readdirSync(directory)) {
    if (shard.startsWith('.')) continue
    for (const name of readdirSync(join(directory, shard))) {
      try {
        sum += statSync(join(directory, shard, name)).size
      } catch (error) {
        if (!isErrno(error, 'ENOENT')) throw error
      }
    }
  }
  return sum
}

/** Looks at the disk at every piece that comes; the answer is the most that there was. */
function watchDisk(directory: string, torrents: readonly Torrent[]): () => number {
  let most = 0
  for (const torrent of torrents) {
    torrent.on('verified', () => {
      most = Math.max(most, bytesOnDisk(directory))
    })
  }
  return () => most
}

describe('a client with a capped cache on disk', () => {
  test('streams a torrent three times as large as the cap, again and again', async () => {
    const piece = 64 * KIB
    const film = made('film', randomBytes(6 * KIB * KIB + 1234, 1), piece)
    const directory = await temporaryDirectory()
    const client = await start(directory, 2 * KIB * KIB)
    const torrent = await add(client, film, [await seed(film)])
    const most = watchDisk(directory, [torrent])
    await expectAll(torrent, film)
    await expectAll(torrent, film)
    expect(most()).toBeLessThanOrEqual(2 * KIB * KIB + piece)
    expect(most()).toBeGreaterThan(KIB * KIB)
  })

  test.each([
    ['a third of', 1536 * KIB],
    ['half of', KIB * KIB],
    ['as large as', 512 * KIB],
    ['larger than', 300 * KIB],
  ])('streams pieces that are %s the cap', async (_, maxBytes) => {
    const piece = 512 * KIB
    const film = made('film', randomBytes(4 * KIB * KIB + 1234, 2), piece)
    const directory = await temporaryDirectory()
    const client = await start(directory, maxBytes)
    const torrent = await add(client, film, [await seed(film)])
    const most = watchDisk(directory, [torrent])
    await expectAll(torrent, film)
    expect(most()).toBeLessThanOrEqual(maxBytes + piece)
  })

  test('serves a reader behind another, and one of another torrent beside them', async () => {
    const piece = 64 * KIB
    const film = made('film', randomBytes(3 * KIB * KIB, 3), piece)
    const other = made('other', randomBytes(2 * KIB * KIB, 4), piece)
    const directory = await temporaryDirectory()
    const client = await start(directory, KIB * KIB)
    const peers = [await seed(film, other)]
    const torrent = await add(client, film, peers)
    const otherTorrent = await add(client, other, peers)
    const most = watchDisk(directory, [torrent, otherTorrent])
    const { content } = film
    const behind = async () => {
      // It begins when the first one is in the middle.
      await vi.waitFor(() => expect(torrent.downloaded).toBeGreaterThan(content.length / 4), 20_000)
      await expectAll(torrent, film)
    }
    await Promise.all([expectAll(torrent, film), behind(), expectAll(otherTorrent, other)])
    expect(most()).toBeLessThanOrEqual(KIB * KIB + piece)
  })

  test('fetches what two torrents have in common once, and keeps it over a restart', async () => {
    const piece = 64 * KIB
    const common = randomBytes(8 * piece, 5)
    const one = made('one', Buffer.concat([common, randomBytes(2 * piece, 6)]), piece)
    const other = made('other', Buffer.concat([randomBytes(piece, 7), common]), piece)
    const directory = await temporaryDirectory()
    const peers = [await seed(one, other)]
    const first = await start(directory, 32 * piece)
    await expectAll(await add(first, one, peers), one)
    const second = await add(first, other, peers)
    await expectAll(second, other)
    expect(second.downloaded).toBe(piece)
    expect(bytesOnDisk(directory)).toBe(11 * piece)
    await first.close()

    const again = await start(directory, 32 * piece)
    for (const of of [one, other]) {
      const torrent = await add(again, of, [])
      expect(torrent.isComplete).toBe(true)
      await expectAll(torrent, of)
      expect(torrent.downloaded).toBe(0)
    }
  })

  test('makes room from what an earlier run left, also of the torrent that is read', async () => {
    const piece = 64 * KIB
    const film = made('film', randomBytes(48 * piece, 8), piece)
    const directory = await temporaryDirectory()
    const peers = [await seed(film)]
    const first = await start(directory, 16 * piece)
    const torrent = await add(first, film, peers)
    const half = { start: 24 * piece, end: 36 * piece }
    const bytes = await read(torrent.file(0), half)
    expect(Buffer.compare(bytes, film.content.slice(half.start, half.end))).toBe(0)
    await first.close()

    const again = await start(directory, 16 * piece)
    const second = await add(again, film, peers)
    const most = watchDisk(directory, [second])
    await expectAll(second, film)
    expect(most()).toBeLessThanOrEqual(17 * piece)
  })
})
