import { describe, expect, test } from 'vitest'
import { createLimits } from '../limits.ts'
import {
  decodeMetadataMessage,
  encodeMetadataData,
  encodeMetadataReject,
  encodeMetadataRequest,
  METADATA_PIECE_LENGTH,
  type MetadataMessage,
} from '../wire/ut-metadata.ts'
import { MetadataExchange } from './metadata-exchange.ts'
import type { Peer } from './peer.ts'

const info = Uint8Array.from({ length: 2 * METADATA_PIECE_LENGTH + 77 }, (_, i) => (i * 7) % 253)

/** As much of a peer as the exchange sees; keeps what it is sent. */
class SpeakingPeer {
  readonly sent: MetadataMessage[] = []
  extended: { metadataSize?: number } | undefined
  speaks = true
  pendingBytes = 0

  constructor(metadataSize?: number) {
    this.extended = metadataSize === undefined ? {} : { metadataSize }
  }

  get wire() {
    return {
      pendingBytes: this.pendingBytes,
      control: {
        speaks: (name: string) => this.speaks && name === 'ut_metadata',
        sendExtension: (_: string, payload: Uint8Array) => {
          const message = decodeMetadataMessage(payload)
          if (message !== undefined) this.sent.push(message)
        },
      },
    }
  }

  get requests(): number[] {
    return this.sent.flatMap((message) => (message.type === 'request' ? [message.piece] : []))
  }

  get asPeer(): Peer {
    return this as unknown as Peer
  }
}

function exchange({ metainfoBytes = 2_000_000 } = {}) {
  const accepted: Uint8Array[] = []
  const metadata = new MetadataExchange({
    limits: createLimits({ metainfoBytes }),
    accept: (bytes) => {
      if (Buffer.compare(bytes, info) !== 0) return false
      accepted.push(bytes)
      return true
    },
  })
  const join = (peer: SpeakingPeer) => {
    metadata.onExtendedHandshake(peer.asPeer)
    return peer
  }
  const answer = (peer: SpeakingPeer, bytes: Uint8Array) => {
    for (const piece of peer.requests) {
      metadata.onMessage(peer.asPeer, encodeMetadataData(piece, bytes))
    }
  }
  return { metadata, accepted, join, answer }
}

const broken = expect.objectContaining({ code: 'ISTHMUS_WIRE_PROTOCOL' })

describe('MetadataExchange, fetching', () => {
  test('puts together what a peer sends, in any order', () => {
    const { metadata, accepted, join } = exchange()
    const peer = join(new SpeakingPeer(info.length))
    expect(peer.requests).toEqual([0, 1, 2])
    for (const piece of [2, 0, 0, 1]) {
      metadata.onMessage(peer.asPeer, encodeMetadataData(piece, info))
    }
    expect(accepted).toEqual([Buffer.from(info)])
  })

  test('keeps nothing of the buffer that a message came in', () => {
    const { metadata, accepted, join } = exchange()
    const peer = join(new SpeakingPeer(info.length))
    for (const piece of [0, 1, 2]) {
      const payload = encodeMetadataData(piece, info)
      metadata.onMessage(peer.asPeer, payload)
      payload.fill(0)
    }
    expect(accepted).toHaveLength(1)
  })

  test('asks for a few pieces at a time', () => {
    const { metadata, join } = exchange()
    const large = new Uint8Array(100 * METADATA_PIECE_LENGTH)
    const peer = join(new SpeakingPeer(large.length))
    expect(peer.requests).toHaveLength(16)
    metadata.onMessage(peer.asPeer, encodeMetadataData(0, large))
    expect(peer.requests).toHaveLength(17)
  })

  test('asks nobody who claims too much, claims nothing, or does not speak it', () => {
    const { join } = exchange({ metainfoBytes: 1000 })
    expect(join(new SpeakingPeer(1001)).requests).toEqual([])
    expect(join(new SpeakingPeer()).requests).toEqual([])
    const mute = new SpeakingPeer(1000)
    mute.speaks = false
    expect(join(mute).requests).toEqual([])
    expect(join(new SpeakingPeer(1000)).requests).toEqual([0])
  })

  test('asks three peers at a time, and the next one when one of them is of no use', () => {
    const { metadata, join } = exchange()
    const peers = Array.from({ length: 5 }, () => join(new SpeakingPeer(info.length)))
    const asked = () => peers.map((peer) => peer.requests.length > 0)
    expect(asked()).toEqual([true, true, true, false, false])
    metadata.removePeer((peers[1] as SpeakingPeer).asPeer)
    expect(asked()).toEqual([true, true, true, true, false])
    metadata.onMessage((peers[0] as SpeakingPeer).asPeer, encodeMetadataReject(0))
    expect(asked()).toEqual([true, true, true, true, true])
  })

  test('who sends the metadata of another torrent is refused, and another one is asked', () => {
    const { accepted, join, answer } = exchange()
    const liars = Array.from({ length: 3 }, () => join(new SpeakingPeer(info.length)))
    const honest = join(new SpeakingPeer(info.length))
    const wrong = info.slice()
    wrong[5] = (wrong[5] ?? 0) ^ 1
    expect(() => answer(liars[0] as SpeakingPeer, wrong)).toThrow(broken)
    expect(honest.requests).toEqual([0, 1, 2])
    answer(honest, info)
    expect(accepted).toHaveLength(1)
  })

  test.each([
    ['of another total', encodeMetadataData(0, info.subarray(0, -1))],
    ['beyond the last', encodeMetadataData(3, new Uint8Array(4 * METADATA_PIECE_LENGTH))],
    ['that is too short', encodeMetadataData(2, info).subarray(0, -1)],
    ['that is no dictionary', Buffer.from('hello')],
    ['without fields', Buffer.from('de')],
  ])('a piece %s breaks the protocol', (_, payload) => {
    const { metadata, accepted, join } = exchange()
    const peer = join(new SpeakingPeer(info.length))
    expect(() => metadata.onMessage(peer.asPeer, payload)).toThrow(broken)
    expect(accepted).toEqual([])
  })

  test('data that nobody asked for is dropped', () => {
    const { metadata, accepted } = exchange()
    const peer = new SpeakingPeer()
    for (const piece of [0, 1, 2]) metadata.onMessage(peer.asPeer, encodeMetadataData(piece, info))
    expect(accepted).toEqual([])
  })

  test('peers that stall make room for others, and may still deliver', () => {
    const { metadata, accepted, join, answer } = exchange()
    const stalled = Array.from({ length: 3 }, () => join(new SpeakingPeer(info.length)))
    const other = join(new SpeakingPeer(info.length))
    metadata.checkProgress(0)
    expect(other.requests).toEqual([])
    metadata.checkProgress(Number.POSITIVE_INFINITY)
    expect(other.requests).toEqual([0, 1, 2])
    answer(stalled[0] as SpeakingPeer, info)
    expect(accepted).toHaveLength(1)
  })

  test('asks for nothing any more once it is known from elsewhere', () => {
    const { metadata, accepted, join, answer } = exchange()
    const peer = join(new SpeakingPeer(info.length))
    metadata.provide(info)
    answer(peer, info)
    expect(join(new SpeakingPeer(info.length)).requests).toEqual([])
    expect(accepted).toEqual([])
  })
})

describe('MetadataExchange, serving', () => {
  const ask = (metadata: MetadataExchange, peer: SpeakingPeer, piece: number) => {
    metadata.onMessage(peer.asPeer, encodeMetadataRequest(piece))
    return peer.sent.at(-1)
  }

  test('rejects what it does not have', () => {
    const { metadata } = exchange()
    const peer = new SpeakingPeer()
    expect(ask(metadata, peer, 0)).toEqual({ type: 'reject', piece: 0 })
    metadata.provide(info)
    expect(ask(metadata, peer, 3)).toEqual({ type: 'reject', piece: 3 })
    expect(ask(metadata, peer, 2 ** 40)).toEqual({ type: 'reject', piece: 2 ** 40 })
  })

  test('serves what it fetched, piece by piece', () => {
    const { metadata, join, answer } = exchange()
    answer(join(new SpeakingPeer(info.length)), info)
    const parts = [0, 1, 2].map((piece) => {
      const message = ask(metadata, new SpeakingPeer(), piece)
      return message?.type === 'data' ? message.data : new Uint8Array()
    })
    expect(Buffer.concat(parts)).toEqual(Buffer.from(info))
  })

  test('who asks faster than it reads is rejected', () => {
    const { metadata } = exchange()
    metadata.provide(info)
    const peer = new SpeakingPeer()
    peer.pendingBytes = 1e9
    expect(ask(metadata, peer, 0)).toEqual({ type: 'reject', piece: 0 })
  })
})
