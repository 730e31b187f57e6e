import { mkdir, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { endAfterTest, temporaryDirectory } from '../../../test/support/cleanup.ts'
import { ContentStorage } from '../../../test/support/content-storage.ts'
import { v2Torrent } from '../../../test/support/libtorrent-samples.ts'
import { ScriptedPeer } from '../../../test/support/scripted-peer.ts'
import { makeTorrent, randomBytes } from '../../../test/support/torrents.ts'
import { startTracker } from '../../../test/support/tracker.ts'
import { Client, type ClientOptions } from './client.ts'
import type { Discovery } from './discovery/discovery.ts'
import { FolderStorage } from './folder/folder-storage.ts'
import { parseMagnet } from './metainfo/magnet.ts'
import { parseMetainfo } from './metainfo/metainfo.ts'
import { AddressPolicy } from './net/address-policy.ts'
import { EgressGuard } from './net/egress-guard.ts'
import { MemoryStorage } from './storage/memory-storage.ts'
import type { PieceStorage, Storage } from './storage/storage.ts'
import type { Torrent } from './torrent.ts'

const PIECE = 65_536
const made = (seed: number, length = 300_000) => ({
  pieceLength: PIECE,
  ...makeTorrent({ name: `torrent ${seed}`, files: randomBytes(length, seed), pieceLength: PIECE }),
})
type Made = ReturnType<typeof made>
const source = made(1)

const listen = { host: '127.0.0.1' }

function newClient(options: ClientOptions = {}): Client {
  return endAfterTest(new Client({ listen, trackers: false, ...options }))
}

/** Trackers, and the peers that they answer with, are on loopback here. */
function localGuard(): EgressGuard {
  return endAfterTest(
    new EgressGuard({ policy: new AddressPolicy({ allow: ['127.0.0.0/8', '::1/128'] }) }),
  )
}

const addressOf = (client: Client) => `127.0.0.1:${client.address?.port}`

async function seeder({ torrent, content }: Made, options: ClientOptions = {}): Promise<Client> {
  const client = newClient(options)
  await client.seed(torrent, new ContentStorage(content))
  return client
}

async function readAll(torrent: Torrent): Promise<Buffer> {
  const file = torrent.file(0)
  const chunks: Uint8Array[] = []
  for await (const chunk of file.read({ start: 0, end: file.length })) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function expectContent(torrent: Torrent, { content }: Made): Promise<void> {
  expect(Buffer.compare(await readAll(torrent), content)).toBe(0)
}

const coded = (code: string) => expect.objectContaining({ code })

describe('adding', () => {
  const metainfo = parseMetainfo(source.torrent)
  const magnet = `magnet:?xt=urn:btih:${source.infoHash}&dn=a+name`

  test.each([
    ['the bytes of a .torrent', source.torrent],
    ['metainfo', metainfo],
    [
      'what parse-torrent makes of one',
      { infoHash: source.infoHash, infoBuffer: metainfo.infoBytes, announce: [] },
    ],
  ])('%s: ready without a peer', async (_, torrentSource) => {
    const client = newClient()
    const torrent = await client.add(torrentSource)
    await torrent.ready()
    expect(torrent).toMatchObject({
      infoHash: source.infoHash,
      name: 'torrent 1',
      length: 300_000,
      pieceLength: PIECE,
      pieceCount: 5,
      progress: 0,
      isComplete: false,
    })
    expect(client.get(source.infoHash)).toBe(torrent)
    expect(client.torrents).toEqual([torrent])
  })

  test.each([
    ['a magnet link', magnet, 'a name'],
    ['a parsed magnet link', parseMagnet(magnet), 'a name'],
    ['an info hash', source.infoHash.toUpperCase(), undefined],
    ['what parse-torrent makes of a hash', { infoHash: source.infoHash }, undefined],
  ])('%s: the metadata comes from a peer', async (_, torrentSource, name) => {
    const seed = await seeder(source)
    const client = newClient()
    const torrent = await client.add(torrentSource)
    expect(torrent.name).toBe(name)
    expect(torrent.files).toEqual([])
    expect(() => torrent.file(0)).toThrow(coded('ISTHMUS_METADATA_MISSING'))
    torrent.addPeers([addressOf(seed)])
    await torrent.ready()
    expect(torrent.name).toBe('torrent 1')
    await expectContent(torrent, source)
  })

  test('metadata of many pieces comes from a peer, with the bitfield told before it', async () => {
    const files = Array.from({ length: 1500 }, (_, index) => ({
      path: [`a file with a rather long name, number ${index}`],
      bytes: randomBytes(40, index),
    }))
    const large = { pieceLength: 16_384, ...makeTorrent({ files, pieceLength: 16_384 }) }
    const partial = newClient()
    const half = await partial.add(large.torrent, { peers: [addressOf(await seeder(large))] })
    await half.ready()
    await half.download({ files: [0] })
    expect(half.isComplete).toBe(false)
    const torrent = await newClient().add(large.infoHash, { peers: [addressOf(partial)] })
    await torrent.ready()
    expect(torrent.files).toHaveLength(1500)
    await expectContent(torrent, { ...large, content: files[0]?.bytes as Uint8Array })
  })

  test('a known torrent is answered itself, with peers added, and told what was missing', async () => {
    const seed = await seeder(source)
    const client = newClient()
    const added: Torrent[] = []
    client.on('torrent', (torrent) => added.push(torrent))
    const torrent = await client.add(magnet)
    expect(await client.add(source.torrent, { peers: [addressOf(seed)] })).toBe(torrent)
    await torrent.ready()
    expect(await client.add(source.infoHash)).toBe(torrent)
    expect(added).toEqual([torrent])
    await expectContent(torrent, source)
  })

  test('added twice at the same moment it is one torrent', async () => {
    const client = newClient()
    const [first, second] = await Promise.all([client.add(magnet), client.add(source.torrent)])
    expect(first).toBe(second)
  })

  test.each([
    ['a v2-only torrent', v2Torrent, 'ISTHMUS_METAINFO_UNSUPPORTED'],
    ['a v2 info hash', 'ab'.repeat(32), 'ISTHMUS_METAINFO_UNSUPPORTED'],
    ['no bencode', new Uint8Array([1, 2, 3]), 'ISTHMUS_BENCODE_INVALID'],
    ['a mangled magnet', 'magnet:?xt=urn:btih:abc', 'ISTHMUS_MAGNET_INVALID'],
    ['a mangled hash', 'hello', 'ISTHMUS_INFO_HASH_INVALID'],
    ['a URL that is none', 'http://', 'ISTHMUS_URL_INVALID'],
    ['a URL of loopback', 'http://127.0.0.1:9/a.torrent', 'ISTHMUS_EGRESS_DENIED'],
    [
      'an info dictionary of another hash',
      { infoHash: 'ab'.repeat(20), infoBuffer: metainfo.infoBytes },
      'ISTHMUS_METAINFO_INVALID',
    ],
  ])('%s is refused', async (_, torrentSource, code) => {
    const client = newClient()
    await expect(client.add(torrentSource)).rejects.toEqual(coded(code))
    expect(client.torrents).toEqual([])
  })

  test('a wrong peer or peer id is refused before anything begins', async () => {
    const client = newClient()
    await expect(client.add(source.torrent, { peers: ['nonsense'] })).rejects.toEqual(
      coded('ISTHMUS_PEER_ADDRESS_INVALID'),
    )
    expect(client.torrents).toEqual([])
    expect(() => new Client({ peerId: new Uint8Array(19) })).toThrow(RangeError)
  })

  test('no more torrents than the limit', async () => {
    const client = newClient({ limits: { torrents: 1 } })
    await client.add(source.torrent)
    await expect(client.add(made(2).torrent)).rejects.toEqual(coded('ISTHMUS_TORRENT_LIMIT'))
    await client.add(source.torrent)
    expect(client.torrents).toHaveLength(1)
  })

  test('addresses in a magnet link are a stranger’s: loopback is not dialed', async () => {
    const peer = endAfterTest(await ScriptedPeer.start(source))
    const client = newClient()
    const torrent = await client.add(`${magnet}&x.pe=${peer.address}`)
    expect(client.peerCount).toBe(0)
    torrent.addPeers([peer.address])
    expect(client.peerCount).toBe(1)
  })

  test('an aborted add adds nothing', async () => {
    const client = newClient()
    const signal = AbortSignal.abort(new Error('enough'))
    await expect(client.add(source.torrent, { signal })).rejects.toThrow('enough')
    expect(client.torrents).toEqual([])
  })

  test('a storage that does not open fails the torrent, not the client', async () => {
    const broken: Storage = { open: () => Promise.reject(new Error('no disk')) }
    const client = newClient()
    const warned = new Promise((resolve) => client.once('warning', resolve))
    const torrent = await client.add(source.torrent, { storage: broken })
    await expect(torrent.ready()).rejects.toEqual(coded('ISTHMUS_STORAGE_FAILED'))
    expect(await warned).toEqual(coded('ISTHMUS_STORAGE_FAILED'))
    await (await client.add(made(3).torrent)).ready()
  })
})

describe('get and remove', () => {
  test('by hash in any case, by id, and not at all', async () => {
    const client = newClient()
    const torrent = await client.add(source.torrent)
    expect(client.get(source.infoHash.toUpperCase())).toBe(torrent)
    expect(client.get(torrent.id)).toBe(torrent)
    expect(client.get('00'.repeat(20))).toBeUndefined()
    expect(() => client.get('hello')).toThrow(coded('ISTHMUS_INFO_HASH_INVALID'))
  })

  test('removing ends reads and waits, closes the storage, and forgets the torrent', async () => {
    const storage = new MemoryStorage()
    const client = newClient({ storage })
    const torrent = await client.add(source.torrent, { peers: [addressOf(await seeder(source))] })
    await torrent.ready()
    await readAll(torrent)
    await torrent.download()
    expect(storage.heldBytes).toBeGreaterThan(0)
    const waiting = await client.add(made(5).torrent)
    await waiting.ready()
    const reading = waiting.file(0).read({ start: 0, end: 1 }).next()
    const downloading = waiting.download()
    const removed: Torrent[] = []
    client.on('removed', (each) => removed.push(each))
    await Promise.all([
      client.remove(source.infoHash),
      client.remove(waiting),
      expect(reading).rejects.toEqual(coded('ISTHMUS_TORRENT_REMOVED')),
      expect(downloading).rejects.toEqual(coded('ISTHMUS_TORRENT_REMOVED')),
    ])
    expect(client.torrents).toEqual([])
    expect(new Set(removed)).toEqual(new Set([torrent, waiting]))
    expect(storage.heldBytes).toBe(0)
    expect(client.peerCount).toBe(0)
    await expect(client.remove(torrent)).rejects.toEqual(coded('ISTHMUS_TORRENT_UNKNOWN'))
    await expect(torrent.file(0).read({ start: 0, end: 1 }).next()).rejects.toEqual(
      coded('ISTHMUS_TORRENT_REMOVED'),
    )
  })

  test('who waits for metadata learns that the torrent was removed', async () => {
    const client = newClient()
    const torrent = await client.add(source.infoHash)
    const ready = torrent.ready()
    await client.remove(torrent)
    await expect(ready).rejects.toEqual(coded('ISTHMUS_TORRENT_REMOVED'))
  })

  test('what was removed can be added again', async () => {
    const seed = await seeder(source)
    const client = newClient()
    await client.remove(await client.add(source.torrent))
    const torrent = await client.add(source.torrent, { peers: [addressOf(seed)] })
    await torrent.ready()
    await expectContent(torrent, source)
  })

  test('data is deleted only where that is asked for', async () => {
    const calls: string[] = []
    const storage: Storage = {
      async open(metainfo) {
        const pieces = await new MemoryStorage().open(metainfo)
        return Object.assign(Object.create(pieces), {
          trust: 'owned',
          state: () => pieces.state(),
          close: async () => void calls.push('close'),
          destroy: async () => void calls.push('destroy'),
        }) as PieceStorage
      },
    }
    const client = newClient({ storage })
    for (const destroyData of [false, true]) {
      const torrent = await client.add(source.torrent)
      await torrent.ready()
      await client.remove(torrent, { destroyData })
    }
    expect(calls).toEqual(['close', 'destroy'])
  })
})

describe('connections', () => {
  test('in and out to ourselves is refused, and not tried again', async () => {
    const client = newClient()
    const torrent = await client.add(source.torrent)
    let dials = 0
    const server = createServer((socket) => {
      dials++
      const through = connect(client.address?.port ?? 0, '127.0.0.1')
      socket.on('error', () => {}).pipe(through)
      through.on('error', () => {}).pipe(socket)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void server.close())
    const address = server.address()
    const relay = `127.0.0.1:${address !== null && typeof address === 'object' ? address.port : 0}`
    torrent.addPeers([relay])
    await expect.poll(() => [dials, client.peerCount]).toEqual([1, 0])
    // Asked for by hand it would be dialed at once, were it not known to be us.
    torrent.addPeers([relay])
    expect(client.peerCount).toBe(0)
    expect(torrent.peerCount).toBe(0)
  })

  test('two clients that dial each other at once keep one connection', async () => {
    const [first, second] = [await seeder(source), newClient()]
    const mine = await second.add(source.torrent)
    const theirs = first.get(source.infoHash) as Torrent
    mine.addPeers([addressOf(first)])
    theirs.addPeers([addressOf(second)])
    // Were both given up, they would not be dialed again for longer than this.
    await mine.download({ signal: AbortSignal.timeout(1400) })
    await expect.poll(() => [first.peerCount, second.peerCount]).toEqual([1, 1])
  })

  test('whoever speaks of another torrent, or of nothing we know, is sent away', async () => {
    const seed = await seeder(source, { limits: { handshakeMs: 300 } })
    const client = newClient()
    const torrent = await client.add(made(2).torrent, { peers: [addressOf(seed)] })
    await expect.poll(() => client.peerCount).toBe(0)
    expect(torrent.peerCount).toBe(0)
    for (const hello of ['GET / HTTP/1.1\r\n\r\n', `\x13BitTorrent protocol${'x'.repeat(48)}`]) {
      const socket = connect(seed.address?.port ?? 0, '127.0.0.1')
      socket.on('error', () => {}).write(Buffer.from(hello, 'latin1'))
      await new Promise<void>((resolve) => socket.on('close', () => resolve()).resume())
    }
    await expect.poll(() => seed.peerCount).toBe(0)
  })

  test('no more connections than the limits', async () => {
    const seed = await seeder(source, { limits: { clientPeers: 2 } })
    const leechers = await Promise.all(
      [1, 2, 3, 4].map(() => newClient().add(source.torrent, { peers: [addressOf(seed)] })),
    )
    const connected = () => leechers.filter(({ peerCount }) => peerCount === 1).length
    await expect.poll(connected).toBe(2)
    expect(seed.peerCount).toBe(2)
    const few = newClient({ limits: { torrentPeers: 2 } })
    const peers = await Promise.all([1, 2, 3].map(() => ScriptedPeer.start(source)))
    for (const peer of peers) endAfterTest(peer)
    const torrent = await few.add(source.torrent, { peers: peers.map(({ address }) => address) })
    await expect.poll(() => torrent.peerCount).toBe(2)
    expect(peers.reduce((sum, { connections }) => sum + connections, 0)).toBe(2)
  })

  test('two clients with a folder that others may change exchange what they lack', async () => {
    const bytes = randomBytes(3 * PIECE, 8)
    const files = ['a', 'b', 'c'].map((name, index) => ({
      path: [name],
      bytes: bytes.subarray(index * PIECE, (index + 1) * PIECE),
    }))
    const { torrent } = makeTorrent({ name: 'shared', files, pieceLength: PIECE })
    const seeds = await Promise.all(
      [['a', 'b'], ['c']].map(async (names) => {
        const directory = await temporaryDirectory()
        await mkdir(join(directory, 'shared'))
        for (const { path, bytes } of files) {
          const [name = ''] = path
          if (names.includes(name)) await writeFile(join(directory, 'shared', name), bytes)
        }
        const client = newClient()
        return { client, torrent: await client.seed(torrent, new FolderStorage({ directory })) }
      }),
    )
    expect(seeds.map((seed) => seed.torrent.progress)).toEqual([2 / 3, 1 / 3])
    const leecher = await newClient().add(torrent, {
      peers: seeds.map(({ client }) => addressOf(client)),
    })
    await leecher.download()
    for (const [index, file] of files.entries()) {
      const chunks: Uint8Array[] = []
      for await (const chunk of leecher.file(index).read({ start: 0, end: PIECE }))
        chunks.push(chunk)
      expect(Buffer.compare(Buffer.concat(chunks), file.bytes)).toBe(0)
    }
    expect(seeds.reduce((sum, seed) => sum + seed.torrent.uploaded, 0)).toBe(bytes.length)
  })
})

describe('sources of peers', () => {
  test('peers come from a tracker, which is told of the beginning and the end', async () => {
    const tracker = endAfterTest(await startTracker())
    const options = { trackers: true, egress: localGuard() }
    const told = { announce: true, trackers: [tracker.httpUrl] }
    const seed = newClient(options)
    await seed.seed(source.torrent, new ContentStorage(source.content), told)
    await tracker.seen(1)
    const client = newClient(options)
    const magnet = `magnet:?xt=urn:btih:${source.infoHash}&tr=${encodeURIComponent(tracker.httpUrl)}`
    const torrent = await client.add(magnet)
    await torrent.ready()
    await expectContent(torrent, source)
    await tracker.seen(3)
    const port = client.address?.port
    await client.close()
    const ours = tracker.announces.filter((announce) => announce.port === port)
    expect(ours.map(({ event }) => event)).toEqual(['started', 'completed', 'stopped'])
    expect(ours.at(-1)).toMatchObject({ downloaded: 300_000, left: 0, infoHash: source.infoHash })
    await seed.remove(source.infoHash)
    expect(tracker.announces.at(-1)).toMatchObject({ event: 'stopped', port: seed.address?.port })
  })

  test('a torrent that does not announce is told to nobody', async () => {
    const tracker = endAfterTest(await startTracker())
    const client = newClient({ trackers: true, egress: localGuard() })
    await client.add(source.torrent, { announce: false, trackers: [tracker.httpUrl] })
    await client.close()
    expect(tracker.announces).toEqual([])
  })

  test('what a source finds is dialed where the policy allows it', async () => {
    const peer = endAfterTest(await ScriptedPeer.start(source))
    const found = { host: '127.0.0.1', port: Number(peer.address.split(':')[1]) }
    const discovery: Discovery = {
      async *find() {
        yield found
      },
      announce: async () => {},
      close: async () => {},
    }
    const strict = newClient({ discovery: [discovery] })
    await (await strict.add(source.torrent)).ready()
    const lenient = newClient({ discovery: [discovery], egress: localGuard() })
    await lenient.add(source.torrent)
    await expect.poll(() => peer.connections).toBe(1)
    expect(strict.peerCount).toBe(0)
  })

  test('a private torrent asks its trackers alone', async () => {
    const asked: string[] = []
    const discovery: Discovery = {
      async *find(id) {
        asked.push(id.v1 ?? '')
        yield* []
      },
      announce: async (id) => void asked.push(id.v1 ?? ''),
      close: async () => {},
    }
    const client = newClient({ discovery: [discovery] })
    const secret = makeTorrent({ files: randomBytes(10, 1), pieceLength: PIECE, private: true })
    await (await client.add(secret.torrent)).ready()
    await client.add(source.torrent)
    await client.close()
    expect(new Set(asked)).toEqual(new Set([source.infoHash]))
  })

  test('a source that fails is a warning', async () => {
    const discovery: Discovery = {
      async *find() {
        yield* []
        throw new Error('no network')
      },
      announce: async () => {},
      close: async () => {},
    }
    const client = newClient({ discovery: [discovery] })
    const warned = new Promise((resolve) => client.once('warning', resolve))
    await client.add(source.torrent)
    expect(await warned).toEqual(coded('ISTHMUS_DISCOVERY_FAILED'))
  })
})

describe('closing', () => {
  test('is done once, and refuses everything afterwards', async () => {
    const client = newClient()
    const torrent = await client.add(source.torrent)
    await Promise.all([client.close(), client.close()])
    expect(torrent.isClosed).toBe(true)
    expect(client.torrents).toEqual([])
    expect(client.peerCount).toBe(0)
    const closed = coded('ISTHMUS_CLIENT_CLOSED')
    await expect(client.add(source.torrent)).rejects.toEqual(closed)
    await expect(client.listen()).rejects.toEqual(closed)
    expect(client.address).toBeUndefined()
  })

  test('while it begins to listen leaves no listener', async () => {
    const client = newClient()
    const listening = client.listen()
    const adding = client.add(source.torrent)
    await Promise.all([
      client.close(),
      listening,
      expect(adding).rejects.toEqual(coded('ISTHMUS_CLIENT_CLOSED')),
    ])
    expect(client.address).toBeUndefined()
  })

  test('closes everything although a storage does not', async () => {
    const seed = await seeder(source)
    const stuck: Storage = {
      async open(metainfo) {
        const pieces = await new MemoryStorage().open(metainfo)
        return Object.assign(pieces, { close: () => Promise.reject(new Error('busy')) })
      },
    }
    const client = new Client({ listen, trackers: false, storage: stuck })
    const torrent = await client.add(source.torrent, { peers: [addressOf(seed)] })
    await torrent.ready()
    await readAll(torrent)
    await expect(client.close()).rejects.toEqual(coded('ISTHMUS_STORAGE_FAILED'))
    expect(client.address).toBeUndefined()
    expect(client.peerCount).toBe(0)
    await expect.poll(() => seed.peerCount).toBe(0)
  })

  test('a busy port is refused with a code, and may be free later', async () => {
    const first = newClient()
    const address = await first.listen()
    const second = newClient({ listen: { ...listen, port: address?.port } })
    await expect(second.add(source.torrent)).rejects.toEqual(coded('ISTHMUS_LISTEN_FAILED'))
    await first.close()
    await second.add(source.torrent)
    expect(second.address?.port).toBe(address?.port)
  })

  test('a client that only connects out listens nowhere', async () => {
    const client = newClient({ listen: false })
    const torrent = await client.add(source.torrent, { peers: [addressOf(await seeder(source))] })
    await torrent.ready()
    await expectContent(torrent, source)
    expect(client.address).toBeUndefined()
  })

  test('leaves nothing that keeps a process alive', async () => {
    const tracker = endAfterTest(await startTracker())
    const seed = await seeder(source)
    // What the test itself holds: its tracker and its seeder, once that has nothing to hash.
    await expect.poll(() => resources().MessagePort).toBeUndefined()
    const before = resources()
    const egress = new EgressGuard({ policy: new AddressPolicy({ allow: ['127.0.0.0/8'] }) })
    const client = new Client({ listen, egress })
    const torrent = await client.add(source.torrent, {
      peers: [addressOf(seed), '127.0.0.1:9'],
      trackers: [tracker.httpUrl, tracker.udpUrl],
    })
    await torrent.download()
    await tracker.seen(1)
    const reading = torrent.file(0).read({ start: 0, end: PIECE })
    await reading.next()
    const magnet = await client.add(made(2).infoHash, { peers: ['127.0.0.1:9'] })
    expect(resources()).not.toEqual(before)
    await client.close()
    await egress.close()
    await expect(magnet.ready()).rejects.toEqual(coded('ISTHMUS_TORRENT_REMOVED'))
    await expect.poll(() => seed.peerCount).toBe(0)
    await expect.poll(resources).toEqual(before)
  })
})

/** How many there are of each kind that keeps a process alive, timers of the test runner apart. */
function resources(): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo()) {
    if (kind !== 'Timeout' && kind !== 'Immediate') counts[kind] = (counts[kind] ?? 0) + 1
  }
  return counts
}
