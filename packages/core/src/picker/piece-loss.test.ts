import { expect, test } from 'vitest'
import { Bitfield } from '../metainfo/bitfield.ts'
import { Layout } from '../metainfo/layout.ts'
import { Picker } from './picker.ts'

test('a piece that a peer has no more is not asked of it, and counts as rarer', () => {
  const layout = new Layout({ files: [{ length: 3 * 16_384 }], pieceLength: 16_384 })
  const picker = new Picker<{ name: string }>({
    layout,
    verified: new Bitfield(layout.pieceCount),
    mayStart: () => true,
    paceOf: () => ({ bytesPerSecond: 1_000_000, roundTripMs: 1, outstanding: 0 }),
    hedgeMs: 5000,
    random: () => 0,
  })
  const [a, b] = [{ name: 'a' }, { name: 'b' }]
  for (const peer of [a, b]) {
    picker.addPeer(peer)
    picker.peerHasAll(peer, Bitfield.full(layout.pieceCount))
  }
  for (let piece = 0; piece < 3; piece++) picker.want(piece)
  picker.peerLost(a, 2)
  picker.peerLost(a, 2)
  expect(picker.pick(b, 1, 0)).toMatchObject([{ piece: 2 }])
  picker.giveBack(b, { piece: 2, begin: 0, length: 16_384 })
  expect(
    picker
      .pick(a, 3, 0)
      .map(({ piece }) => piece)
      .sort(),
  ).toEqual([0, 1])
  picker.peerHas(a, 2)
  expect(picker.pick(a, 3, 0)).toMatchObject([{ piece: 2 }])
})
