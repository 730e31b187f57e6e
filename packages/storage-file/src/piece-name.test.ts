import { createHash } from 'node:crypto'
import { encodeBencode, type Metainfo, metainfoFromInfo, parseMetainfo } from '@isthmus/core'
import { describe, expect, test } from 'vitest'
import { hybridTorrent, v2Torrent } from '../../../test/support/libtorrent-samples.ts'
import { makeTorrent, randomBytes } from '../../../test/support/torrents.ts'
import { isPartName, isPieceName, partName, pieceName } from './piece-name.ts'

const BLOCK = 16_384
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest()

function namesOf(metainfo: Metainfo): string[] {
  return Array.from({ length: metainfo.layout.pieceCount }, (_, i) => pieceName(metainfo, i))
}

/** A v2 torrent of one file no longer than a piece. */
function oneFile(content: Uint8Array, pieceLength: number): Metainfo {
  const info = {
    'file tree': { a: { '': { length: content.length, 'pieces root': sha256(content) } } },
    'meta version': 2,
    name: 'a',
    'piece length': pieceLength,
  }
  return parseMetainfo(encodeBencode({ info, 'piece layers': {} }))
}

describe('the name of a piece', () => {
  test('is its SHA-1 in a v1 torrent, and in a hybrid one', () => {
    const { torrent, content } = makeTorrent({
      files: randomBytes(3 * BLOCK + 5, 1),
      pieceLength: BLOCK,
    })
    const digests = [0, 1, 2, 3].map((piece) =>
      createHash('sha1')
        .update(content.subarray(piece * BLOCK, (piece + 1) * BLOCK))
        .digest('hex'),
    )
    expect(namesOf(parseMetainfo(torrent))).toEqual(digests)
    expect(namesOf(parseMetainfo(hybridTorrent)).map(({ length }) => length)).toEqual(
      Array(6).fill(40),
    )
  })

  test('is the hash of the piece layer in a v2 torrent', () => {
    const metainfo = parseMetainfo(v2Torrent)
    const [layer = new Uint8Array()] = metainfo.pieceLayers.values()
    const hashes = [0, 1, 2, 3, 4].map((piece) =>
      Buffer.from(layer.subarray(piece * 32, (piece + 1) * 32)).toString('hex'),
    )
    const last = 70_000 - 4 * BLOCK
    expect(namesOf(metainfo)).toEqual([...hashes.slice(0, 4), `${hashes[4]}-${last}-1`])
  })

  test('is no other torrent’s where the piece layers are not known', () => {
    const known = parseMetainfo(v2Torrent)
    const names = namesOf(metainfoFromInfo(known.infoBytes))
    expect(new Set([...names, ...namesOf(known)]).size).toBe(10)
    expect(names.every(isPieceName)).toBe(true)
  })

  test('tells a block from the nodes of a tree that have the same bytes (BEP 52)', () => {
    const left = randomBytes(100, 1)
    const nodes = Buffer.concat([sha256(left), new Uint8Array(32)])
    // A piece of 32 KiB that ends with its file after `left`, and a file that is the nodes above it.
    const info = {
      'file tree': {
        long: { '': { length: 2 * BLOCK + left.length, 'pieces root': sha256(nodes) } },
      },
      'meta version': 2,
      name: 'long',
      'piece length': 2 * BLOCK,
    }
    const whole = sha256(randomBytes(64, 2))
    const layer = Buffer.concat([whole, sha256(nodes)])
    const root = sha256(layer)
    info['file tree'].long[''] = { length: 2 * BLOCK + left.length, 'pieces root': root }
    const layers = new Map([[Buffer.from(root).toString('latin1'), layer]])
    const long = parseMetainfo(encodeBencode({ info, 'piece layers': layers }))
    const short = oneFile(nodes, 2 * BLOCK)
    expect(pieceName(long, 1).slice(0, 64)).toBe(pieceName(short, 0).slice(0, 64))
    expect(pieceName(long, 1)).not.toBe(pieceName(short, 0))
  })

  test('is the same for equal pieces of torrents with pieces of different length', () => {
    const content = randomBytes(BLOCK, 3)
    expect(pieceName(oneFile(content, BLOCK), 0)).toBe(pieceName(oneFile(content, 4 * BLOCK), 0))
  })

  test('and that of a part are told from all others', () => {
    const names = ['a'.repeat(40), 'a'.repeat(64), `${'0'.repeat(64)}-100-4`]
    for (const name of names) {
      expect(isPieceName(name)).toBe(true)
      expect(isPartName(name)).toBe(false)
      expect(isPartName(partName(name, 12))).toBe(true)
      expect(isPieceName(partName(name, 12))).toBe(false)
    }
    for (const name of [
      'A'.repeat(40),
      'a'.repeat(41),
      `${'a'.repeat(40)}-1-1`,
      'note.1.part',
      '',
    ]) {
      expect(isPieceName(name)).toBe(false)
      expect(isPartName(name)).toBe(false)
    }
  })
})
