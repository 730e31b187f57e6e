import { Bitfield, parseMetainfo } from '@isthmus/core'
import { describe, expect, test } from 'vitest'
import { makeTorrent, randomBytes } from '../../../test/support/torrents.ts'
import { decodeTorrentState, encodeTorrentState, maxStateBytes } from './torrent-state.ts'

const { torrent } = makeTorrent({
  files: [
    { path: ['a'], bytes: randomBytes(100_000, 1) },
    { path: ['b'], bytes: randomBytes(70_000, 2) },
  ],
  pieceLength: 16_384,
})
const metainfo = parseMetainfo(torrent)
const present = Bitfield.full(metainfo.layout.pieceCount)
const verified = new Bitfield(metainfo.layout.pieceCount)
verified.set(3)
const marks = [{ size: 100_000, mtimeMs: 1_763_632_000_123.25, ino: 2 ** 60 }, undefined]
const state = { present, verified, marks, clean: false }
const bytes = encodeTorrentState(metainfo.infoHash, state)

describe('the state of a torrent', () => {
  test('comes back as it was', () => {
    const decoded = decodeTorrentState(bytes, metainfo)
    expect(decoded?.present.bytes).toEqual(present.bytes)
    expect(decoded?.verified.count).toBe(1)
    expect(decoded?.verified.has(3)).toBe(true)
    expect(decoded?.marks).toEqual(marks)
    expect(decoded?.clean).toBe(false)
    expect(bytes.length).toBeLessThan(maxStateBytes(metainfo))
  })

  test('is nothing where any one byte changed, or the end is missing', () => {
    for (let at = 0; at < bytes.length - 1; at++) {
      const damaged = new Uint8Array(bytes)
      damaged[at] = (damaged[at] ?? 0) ^ 1
      expect(decodeTorrentState(damaged, metainfo), `byte ${at}`).toBeUndefined()
      expect(decodeTorrentState(bytes.slice(0, at), metainfo), `cut at ${at}`).toBeUndefined()
    }
  })

  test('is nothing where it is of another torrent', () => {
    const other = encodeTorrentState('0'.repeat(40), state)
    expect(decodeTorrentState(other, metainfo)).toBeUndefined()
    const shorter = encodeTorrentState(metainfo.infoHash, {
      ...state,
      present: new Bitfield(3),
      verified: new Bitfield(3),
    })
    expect(decodeTorrentState(shorter, metainfo)).toBeUndefined()
    const fewer = encodeTorrentState(metainfo.infoHash, { ...state, marks: [] })
    expect(decodeTorrentState(fewer, metainfo)).toBeUndefined()
  })
})
