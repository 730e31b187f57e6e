import { describe, expect, test } from 'vitest'
import { filledStorage, openClient, seed } from '../../../../test/support/loopback-clients.ts'
import { RawPeer } from '../../../../test/support/raw-peer.ts'
import { makeTorrent, randomBytes } from '../../../../test/support/torrents.ts'
import { message, numbers, uint32 } from '../../../../test/support/wire-messages.ts'
import type { PieceStorage, Storage } from '../storage/storage.ts'
import { MessageId } from '../wire/message-id.ts'

const PIECE = 16_384
const made = makeTorrent({ files: randomBytes(4 * PIECE, 7), pieceLength: PIECE })
const { infoHash, content } = made
const ours = { m: { lt_donthave: 9, upload_only: 8 } }

/** What the client said under one of our extension ids, as hex. */
function extensionMessages(peer: RawPeer, id: number): string[] {
  return peer
    .heard(MessageId.extended)
    .filter((payload) => payload[0] === id)
    .map((payload) => payload.toString('hex', 1))
}

const portOf = (client: ReturnType<typeof openClient>) => client.address?.port ?? 0

describe('a piece that is gone', () => {
  test('is told to who understands it, and so is that we want something again', async () => {
    const { storage, damage } = damagedLater()
    const client = openClient()
    const torrent = await client.seed(made.torrent, storage)
    const peer = await RawPeer.dial(portOf(client), infoHash, ours)
    const deaf = await RawPeer.dial(portOf(client), infoHash, {})
    await Promise.all([peer.greeting(), deaf.greeting()])
    // Whoever hears of it has said what it understands.
    for (const each of [peer, deaf]) {
      each.send(message(MessageId.interested))
      await each.hear(({ id }) => id === MessageId.unchoke)
    }
    await damage(2)
    await torrent.verify()
    await peer.hear(({ id, payload }) => id === MessageId.extended && payload[0] === 9)
    expect(extensionMessages(peer, 9)).toEqual(['00000002'])
    expect(extensionMessages(peer, 8)).toEqual(['00'])
    expect(extensionMessages(deaf, 9)).toEqual([])
  })

  test('with a peer is not asked of it', async () => {
    const client = openClient()
    const torrent = await client.add(made.torrent)
    await torrent.ready()
    const peer = await RawPeer.dial(portOf(client), infoHash, {})
    const greeting = await peer.greeting()
    const id = Number(/11:lt_donthavei(\d+)e/.exec(greeting)?.[1])
    peer.send(message(MessageId.bitfield, Buffer.of(0xf0)))
    peer.send(message(MessageId.extended, Buffer.of(id), uint32(1)))
    const ended = new AbortController()
    const download = torrent.download({ signal: ended.signal }).catch(() => 'ended')
    await peer.hear((heard) => heard.id === MessageId.interested)
    peer.send(message(MessageId.unchoke))
    await peer.hear(() => peer.heard(MessageId.request).length === 3)
    peer.send(numbers(MessageId.have, 1))
    await peer.hear(() => peer.heard(MessageId.request).length === 4)
    const pieces = peer.heard(MessageId.request).map((payload) => payload.readUInt32BE(0))
    expect(pieces.slice(0, 3).sort()).toEqual([0, 2, 3])
    expect(pieces[3]).toBe(1)
    ended.abort()
    expect(await download).toBe('ended')
  })

  test('of which there is no such number costs the connection', async () => {
    for (const payload of [uint32(4), Buffer.of(1, 2, 3), Buffer.alloc(0)]) {
      const client = openClient()
      await (await client.add(made.torrent)).ready()
      const peer = await RawPeer.dial(portOf(client), infoHash, {})
      const id = Number(/11:lt_donthavei(\d+)e/.exec(await peer.greeting())?.[1])
      peer.send(message(MessageId.extended, Buffer.of(id), payload))
      await peer.closed()
    }
  })
})

describe('upload-only', () => {
  test('is in the extended handshake of who has everything, and of nobody else', async () => {
    for (const [has, expected] of [
      [() => true, true],
      [(piece: number) => piece !== 0, false],
    ] as const) {
      const client = openClient()
      await seed(client, made, has)
      const peer = await RawPeer.dial(portOf(client), infoHash, {})
      expect((await peer.greeting()).includes('11:upload_onlyi1e')).toBe(expected)
    }
  })

  test('is told once the last piece is there', async () => {
    const client = openClient()
    const torrent = await seed(client, made, (piece) => piece !== 3)
    const peer = await RawPeer.dial(portOf(client), infoHash, ours)
    await peer.greeting()
    peer.send(message(MessageId.have, uint32(3)))
    const download = torrent.download()
    await peer.hear(({ id }) => id === MessageId.interested)
    peer.send(message(MessageId.unchoke))
    await peer.hear(({ id }) => id === MessageId.request)
    const block = content.subarray(3 * PIECE)
    peer.send(message(MessageId.piece, uint32(3), uint32(0), block))
    await download
    await peer.hear(({ id, payload }) => id === MessageId.extended && payload[0] === 8)
    expect(extensionMessages(peer, 8)).toEqual(['01'])
  })

  test('two that are so part, whichever way the other one says it', async () => {
    const client = openClient()
    await seed(client, made)
    const byHandshake = await RawPeer.dial(portOf(client), infoHash, { upload_only: 1 })
    await byHandshake.closed()
    const byMessage = await RawPeer.dial(portOf(client), infoHash, {})
    const id = Number(/11:upload_onlyi(\d+)e/.exec(await byMessage.greeting())?.[1])
    byMessage.send(message(MessageId.extended, Buffer.of(id, 1)))
    await byMessage.closed()
  })

  test('with somebody who wants something it is no reason to part', async () => {
    const client = openClient()
    await seed(client, made, (piece) => piece !== 3)
    const peer = await RawPeer.dial(portOf(client), infoHash, { upload_only: 1 })
    peer.send(message(MessageId.interested))
    await peer.hear(({ id }) => id === MessageId.unchoke)
  })
})

/** All pieces at first; one of them can be spoiled behind the torrent's back. */
function damagedLater() {
  const inner = filledStorage(content, () => true)
  let pieces: PieceStorage | undefined
  const storage: Storage = {
    open: async (metainfo, options) => {
      pieces = await inner.open(metainfo, options)
      return pieces
    },
  }
  const damage = async (piece: number) => {
    await pieces?.write?.(piece * PIECE, new Uint8Array(PIECE))
    await pieces?.commit?.(piece)
  }
  return { storage, damage }
}
