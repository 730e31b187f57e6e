import { describe, expect, test } from 'vitest'
import { endAfterTest } from '../../../test/support/cleanup.ts'
import { ContentStorage } from '../../../test/support/content-storage.ts'
import {
  type Answer,
  type AskedBlock,
  ScriptedPeer,
  type ScriptedPeerOptions,
} from '../../../test/support/scripted-peer.ts'
import { makeTorrent, randomBytes, type TorrentContent } from '../../../test/support/torrents.ts'
import { Client, type ClientOptions } from './client.ts'
import { MemoryStorage } from './storage/memory-storage.ts'
import type { Torrent } from './torrent.ts'

const KIB = 1024
const MIB = 1024 * KIB

function newClient(options: ClientOptions = {}): Client {
  return endAfterTest(new Client({ listen: { host: '127.0.0.1' }, trackers: false, ...options }))
}

function made(length: number, pieceLength: number, more: Partial<TorrentContent> = {}) {
  return {
    pieceLength,
    ...makeTorrent({ files: randomBytes(length, length), pieceLength, ...more }),
  }
}

type Made = ReturnType<typeof made>

/** `host:port` of a client that has it all. */
async function seeder({ torrent, content }: Made, bytes = content): Promise<string> {
  const client = newClient()
  await client.seed(torrent, new ContentStorage(bytes))
  return `127.0.0.1:${client.address?.port}`
}

async function scripted(torrent: Made, options: Partial<ScriptedPeerOptions> = {}) {
  return endAfterTest(await ScriptedPeer.start({ ...torrent, ...options }))
}

async function leech(
  { torrent }: Made,
  peers: readonly string[],
  options: ClientOptions = {},
): Promise<Torrent> {
  const added = await newClient(options).add(torrent, { peers })
  await added.ready()
  return added
}

async function read(torrent: Torrent, start: number, end: number, file = 0): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of torrent.file(file).read({ start, end })) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function expectAll(torrent: Torrent, content: Uint8Array): Promise<void> {
  expect(Buffer.compare(await read(torrent, 0, content.length), content)).toBe(0)
}

const capped = (maxBytes: number) => new MemoryStorage({ maxBytes })

describe('reading while it downloads', () => {
  test.each([
    ['far more than the storage holds', 8 * MIB, 64 * KIB, MIB],
    ['pieces of one block', MIB + 5000, 16 * KIB, 256 * KIB],
    ['pieces of 4 MiB', 12 * MIB + 1, 4 * MIB, 16 * MIB],
    ['pieces that are larger than the storage', 5 * MIB, MIB, 300_000],
    ['no more than one byte', 1, 16 * KIB, 16 * KIB],
  ])('gives the right bytes: %s', async (_, length, pieceLength, maxBytes) => {
    const source = made(length, pieceLength)
    const storage = capped(maxBytes)
    const torrent = await leech(source, [await seeder(source)], { storage })
    let most = 0
    torrent.on('verified', () => {
      most = Math.max(most, storage.heldBytes)
    })
    await expectAll(torrent, source.content)
    expect(most).toBeLessThanOrEqual(Math.max(maxBytes, pieceLength))
    expect(torrent.downloaded).toBeGreaterThanOrEqual(length)
    expect(torrent.readerCount).toBe(0)
  })

  test('what is kept in memory once is not fetched twice', async () => {
    const source = made(MIB, 64 * KIB)
    const torrent = await leech(source, [await seeder(source)])
    await expectAll(torrent, source.content)
    await expectAll(torrent, source.content)
    expect(torrent.downloaded).toBe(MIB)
  })

  test('two readers, one behind the other, share a storage that holds neither of them whole', async () => {
    const source = made(8 * MIB, 64 * KIB)
    const torrent = await leech(source, [await seeder(source)], { storage: capped(MIB) })
    const halves = await Promise.all([
      read(torrent, 0, 6 * MIB),
      read(torrent, 2 * MIB + 7, 8 * MIB),
    ])
    expect(Buffer.compare(halves[0], source.content.subarray(0, 6 * MIB))).toBe(0)
    expect(Buffer.compare(halves[1], source.content.subarray(2 * MIB + 7))).toBe(0)
  })

  test('many readers at once, each with a share of the storage', async () => {
    const source = made(4 * MIB, 64 * KIB)
    const torrent = await leech(source, [await seeder(source)], { storage: capped(MIB) })
    const starts = [0, 1, 2, 3, 4, 5, 6].map((index) => index * 500_000)
    const parts = await Promise.all(starts.map((start) => read(torrent, start, start + MIB)))
    for (const [index, part] of parts.entries()) {
      const start = starts[index] ?? 0
      expect(Buffer.compare(part, source.content.subarray(start, start + MIB))).toBe(0)
    }
  })

  test('readers of two torrents share one storage', async () => {
    const sources = [made(3 * MIB, 64 * KIB), made(3 * MIB + 1, 128 * KIB)]
    const client = newClient({ storage: capped(MIB) })
    const torrents = await Promise.all(
      sources.map(async (source) => client.add(source.torrent, { peers: [await seeder(source)] })),
    )
    await Promise.all(torrents.map((torrent) => torrent.ready()))
    await Promise.all(
      torrents.map((torrent, index) => expectAll(torrent, sources[index]?.content as Uint8Array)),
    )
  })

  test('a far range does not wait for what comes before it', async () => {
    const source = made(32 * MIB, MIB)
    const peer = await scripted(source)
    const torrent = await leech(source, [peer.address])
    expect((await read(torrent, 30 * MIB, 30 * MIB + 9)).length).toBe(9)
    expect(peer.requests[0]).toMatchObject({ piece: 30, begin: 0 })
    expect(peer.requests.every(({ piece }) => piece >= 30)).toBe(true)
  })

  test('nothing is fetched while nobody reads', async () => {
    const source = made(MIB, 64 * KIB)
    const torrent = await leech(source, [await seeder(source)])
    await read(torrent, 0, 10)
    const before = torrent.downloaded
    expect(before).toBeLessThanOrEqual(64 * KIB)
    const other = await leech(source, [await seeder(source)])
    await expectAll(other, source.content)
    expect(torrent.downloaded).toBe(before)
  })

  test('a file among several, with an empty one and a last short piece', async () => {
    const bytes = randomBytes(200_000, 9)
    const files = [
      { path: ['a.bin'], bytes: bytes.subarray(0, 70_001) },
      { path: ['none.bin'], bytes: new Uint8Array() },
      { path: ['sub', 'b.bin'], bytes: bytes.subarray(70_001) },
    ]
    const source = { pieceLength: 65_536, ...makeTorrent({ files, pieceLength: 65_536 }) }
    const torrent = await leech(source, [await seeder(source)])
    expect(torrent.files.map(({ path }) => path)).toEqual([
      'content/a.bin',
      'content/none.bin',
      'content/sub/b.bin',
    ])
    for (const [index, file] of files.entries()) {
      const all = await read(torrent, 0, file.bytes.length, index)
      expect(Buffer.compare(all, file.bytes)).toBe(0)
    }
    expect(torrent.isComplete).toBe(true)
    expect(torrent.progress).toBe(1)
  })
})

describe('leaving a read', () => {
  const source = made(16 * MIB, MIB)

  test('a seek cancels what nobody wants any more', async () => {
    const peer = await scripted(source, { answer: () => 'hold' })
    const torrent = await leech(source, [peer.address])
    const controller = new AbortController()
    const { signal } = controller
    const first = torrent.file(0).read({ start: 0, end: MIB }, { signal }).next()
    await peer.asked(16)
    peer.answer = () => 'send'
    const second = read(torrent, 10 * MIB, 10 * MIB + 100)
    controller.abort(new Error('enough'))
    await expect(first).rejects.toThrow('enough')
    expect(Buffer.compare(await second, source.content.subarray(10 * MIB, 10 * MIB + 100))).toBe(0)
    await expect.poll(() => peer.cancels.length).toBe(16)
    expect(peer.cancels.every(({ piece }) => piece === 0)).toBe(true)
  })

  test('a reader that returns early wants nothing any more', async () => {
    const peer = await scripted(source, { answer: ({ piece }) => (piece === 0 ? 'send' : 'hold') })
    const torrent = await leech(source, [peer.address])
    for await (const chunk of torrent.file(0).read({ start: 0, end: 3 * MIB })) {
      expect(chunk.length).toBeGreaterThan(0)
      break
    }
    expect(torrent.readerCount).toBe(0)
    const open = () => peer.requests.filter(({ piece }) => piece > 0).length - peer.cancels.length
    await expect.poll(open).toBe(0)
  })

  test('memory for a few pieces is enough, however often a reader jumps', async () => {
    const limits = { memoryBytes: 2 * MIB + 1 }
    const storage = capped(3 * MIB)
    const torrent = await leech(source, [await seeder(source)], { limits, storage })
    for (let jump = 0; jump < 40; jump++) {
      const controller = new AbortController()
      const start = ((jump * 7) % 15) * MIB + jump
      const abandoned = torrent
        .file(0)
        .read({ start, end: start + MIB }, controller)
        .next()
      const at = ((jump * 5) % 15) * MIB
      const wanted = read(torrent, at, at + 1000)
      controller.abort(new Error('enough'))
      await expect(abandoned.then(() => {})).rejects.toThrow('enough')
      expect(Buffer.compare(await wanted, source.content.subarray(at, at + 1000))).toBe(0)
    }
  })

  test('what came of an abandoned piece is not lost on who returns to it', async () => {
    const peer = await scripted(source, {
      answer: ({ begin }) => (begin < 500_000 ? 'send' : 'hold'),
    })
    const torrent = await leech(source, [peer.address])
    const controller = new AbortController()
    const { signal } = controller
    const first = torrent.file(0).read({ start: 0, end: MIB }, { signal }).next()
    await peer.asked(32)
    controller.abort(new Error('enough'))
    await expect(first).rejects.toThrow('enough')
    peer.answer = () => 'send'
    const asked = peer.requests.length
    expect(Buffer.compare(await read(torrent, 0, MIB), source.content.subarray(0, MIB))).toBe(0)
    expect(peer.requests.length - asked).toBeLessThan(64)
  })
})

describe('download', () => {
  test('fetches everything, and says so once', async () => {
    const source = made(3 * MIB + 77, 64 * KIB)
    const torrent = await leech(source, [await seeder(source)])
    let done = 0
    torrent.on('done', () => done++)
    await torrent.download()
    expect(torrent.isComplete).toBe(true)
    expect(done).toBe(1)
    await torrent.download()
    expect(torrent.downloaded).toBe(source.content.length)
    await expectAll(torrent, source.content)
  })

  test('fetches single files, and not much else', async () => {
    const bytes = randomBytes(3 * MIB, 4)
    const files = [0, 1, 2].map((index) => ({
      path: [`${index}.bin`],
      bytes: bytes.subarray(index * MIB, (index + 1) * MIB),
    }))
    const source = { pieceLength: 64 * KIB, ...makeTorrent({ files, pieceLength: 64 * KIB }) }
    const torrent = await leech(source, [await seeder(source)])
    await torrent.download({ files: [1] })
    expect(torrent.files.map(({ progress }) => progress)).toEqual([0, 1, 0])
    expect(torrent.downloaded).toBe(MIB)
  })

  test('is refused where the storage never holds all of it at once', async () => {
    const bytes = randomBytes(4 * 65_536, 4)
    const files = [
      { path: ['a'], bytes: bytes.subarray(0, 100) },
      // One piece long, in two pieces.
      { path: ['b'], bytes: bytes.subarray(100, 65_636) },
      { path: ['c'], bytes: bytes.subarray(65_636) },
    ]
    const source = { pieceLength: 65_536, ...makeTorrent({ files, pieceLength: 65_536 }) }
    const torrent = await leech(source, [await seeder(source)], { storage: capped(65_536) })
    const full = { code: 'ISTHMUS_STORAGE_FULL' }
    await expect(torrent.download()).rejects.toMatchObject(full)
    await expect(torrent.download({ files: [1] })).rejects.toMatchObject(full)
    await torrent.download({ files: [0, 0] })
    expect(torrent.file('content/a').progress).toBe(1)
  })

  test('one that is aborted takes nothing from another', async () => {
    const source = made(2 * MIB, 64 * KIB)
    const peer = await scripted(source, { answer: () => 'hold' })
    const torrent = await leech(source, [peer.address])
    const controller = new AbortController()
    const all = torrent.download()
    const aborted = torrent.download({ signal: controller.signal })
    await peer.asked(1)
    controller.abort(new Error('enough'))
    await expect(aborted).rejects.toThrow('enough')
    peer.answer = () => 'send'
    peer.release()
    await all
    expect(torrent.isComplete).toBe(true)
  })

  test('what was downloaded makes room for what is read', async () => {
    const sources = [made(MIB, 64 * KIB), made(MIB + 1, 64 * KIB)] as const
    const client = newClient({ storage: capped(MIB) })
    const [first, second] = await Promise.all(
      sources.map(async (source) => client.add(source.torrent, { peers: [await seeder(source)] })),
    )
    await first?.download()
    await second?.ready()
    await expectAll(second as Torrent, sources[1].content)
  })
})

describe('peers that come and go', () => {
  const source = made(4 * MIB, 256 * KIB)

  test('what a peer that hangs up was asked for comes from another one', async () => {
    const leaving = await scripted(source, { answer: () => 'hold' })
    const torrent = await leech(source, [leaving.address])
    const all = expectAll(torrent, source.content)
    await leaving.asked(16)
    torrent.addPeers([await seeder(source)])
    await leaving.stop()
    await all
  })

  test('a peer that tells of its pieces later is asked for them', async () => {
    const peer = await scripted(source, { has: (piece) => piece === 3 })
    const torrent = await leech(source, [peer.address])
    const all = read(torrent, 0, 1000)
    await expect.poll(() => peer.connected).toBe(1)
    await expect.poll(() => torrent.peerCount).toBe(1)
    peer.tellHave(0)
    expect(Buffer.compare(await all, source.content.subarray(0, 1000))).toBe(0)
  })

  test('a peer that chokes in between loses nothing', async () => {
    const peer = await scripted(source, { answer: () => 'hold' })
    const torrent = await leech(source, [peer.address])
    const all = expectAll(torrent, source.content)
    await peer.asked(16)
    peer.answer = () => 'send'
    peer.choke(true)
    peer.choke(false)
    await all
  })

  test('a peer that rejects without choking is not asked for the same again and again', async () => {
    const refusing = await scripted(source, { answer: () => 'reject', fast: true })
    const torrent = await leech(source, [refusing.address])
    const all = expectAll(torrent, source.content)
    await refusing.asked(16)
    torrent.addPeers([await seeder(source)])
    await all
    const asked = new Set(refusing.requests.map(({ piece, begin }) => `${piece} ${begin}`))
    expect(refusing.requests.length).toBe(asked.size)
  })

  test('a peer that stalls is hedged, and gets a cancel', async () => {
    const stalling = await scripted(source, { answer: () => 'hold' })
    const torrent = await leech(source, [stalling.address], { limits: { hedgeMs: 50 } })
    const all = expectAll(torrent, source.content)
    await stalling.asked(16)
    torrent.addPeers([await seeder(source)])
    await all
    await expect.poll(() => stalling.cancels.length).toBeGreaterThan(0)
  })

  test('late answers of a peer that was hedged do no harm', async () => {
    const late = await scripted(source, { answer: () => 'hold' })
    const torrent = await leech(source, [late.address], { limits: { hedgeMs: 50 } })
    const all = expectAll(torrent, source.content)
    await late.asked(16)
    torrent.addPeers([await seeder(source)])
    await all
    late.release()
    await expectAll(torrent, source.content)
    expect(late.connected).toBe(1)
  })

  test('a slow peer that alone has a piece is asked for it, whoever else is fast', async () => {
    const only = await scripted(source, { has: (piece) => piece === 2 })
    const others = await scripted(source, { has: (piece) => piece !== 2 })
    const torrent = await leech(source, [only.address, others.address])
    await expectAll(torrent, source.content)
  })
})

describe('peers that lie', () => {
  const source = made(2 * MIB, 128 * KIB)

  test('beside a good one: right bytes, and the liar is banned', async () => {
    const liar = await scripted(source, { answer: () => 'lie' })
    const torrent = await leech(source, [liar.address, await seeder(source)])
    await expectAll(torrent, source.content)
    await torrent.download()
    if (liar.requests.length > 0) await expect.poll(() => liar.connected).toBe(0)
    torrent.addPeers([liar.address])
    expect(liar.connections).toBe(1)
  })

  test('one wrong block among right ones is found out', async () => {
    const liar = await scripted(source, {
      answer: ({ piece, begin }) => (piece === 0 && begin === 16_384 ? 'lie' : 'send'),
    })
    const torrent = await leech(source, [liar.address])
    const all = expectAll(torrent, source.content)
    await expect.poll(() => liar.connected).toBe(0)
    torrent.addPeers([await seeder(source)])
    await all
  })

  test('only liars: the read rejects, and nothing wrong is yielded', async () => {
    const liars = [await scripted(source, { answer: () => 'lie' })]
    const torrent = await leech(
      source,
      liars.map(({ address }) => address),
    )
    const warnings: string[] = []
    torrent.on('warning', ({ code }) => warnings.push(code))
    await expect(torrent.file(0).read({ start: 0, end: 9 }).next()).rejects.toMatchObject({
      code: 'ISTHMUS_SWARM_POISONED',
    })
    expect(warnings).toContain('ISTHMUS_SWARM_POISONED')
    expect(torrent.progress).toBe(0)
  })

  test('after liars alone, a good peer makes it readable', async () => {
    const liar = await scripted(source, { answer: () => 'lie' })
    const torrent = await leech(source, [liar.address])
    await expect(read(torrent, 0, 9)).rejects.toMatchObject({ code: 'ISTHMUS_SWARM_POISONED' })
    torrent.addPeers([await seeder(source)])
    await expect.poll(() => torrent.peerCount).toBe(1)
    await expectAll(torrent, source.content)
  })

  test('two that spoil a piece together and then stall do not keep it from others', async () => {
    const large = made(4 * MIB, 256 * KIB)
    const spoil = () => {
      const seen = new Set<number>()
      return ({ piece, begin }: AskedBlock): Answer => {
        if (piece > 0 || seen.has(begin)) return 'hold'
        seen.add(begin)
        return 'lie'
      }
    }
    // They have nothing else, so one of them takes the spoilt piece again at once.
    const has = (piece: number) => piece === 0
    const liars = [
      await scripted(large, { has, answer: spoil() }),
      await scripted(large, { has, answer: spoil() }),
    ]
    const addresses = liars.map(({ address }) => address)
    const torrent = await leech(large, addresses, { limits: { requestMs: 300, hedgeMs: 100 } })
    await expect.poll(() => torrent.peerCount).toBe(2)
    const failed = new Promise<void>((resolve) => torrent.once('warning', () => resolve()))
    const all = expectAll(torrent, large.content)
    await failed
    // Neither is certain to have lied, so one of them got the piece for itself.
    expect(torrent.peerCount).toBe(2)
    torrent.addPeers([await seeder(large)])
    await all
  })

  test('a seeder whose files changed sends nothing of them', async () => {
    const changed = source.content.slice()
    changed[300_000] = (changed[300_000] ?? 0) ^ 1
    const torrent = await leech(source, [await seeder(source, changed)], {
      limits: { hedgeMs: 100 },
    })
    const all = torrent.download()
    await expect.poll(() => torrent.progress).toBeCloseTo(15 / 16, 9)
    torrent.addPeers([await seeder(source)])
    await all
    await expectAll(torrent, source.content)
  })
})
