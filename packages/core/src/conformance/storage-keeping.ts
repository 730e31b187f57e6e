import type { PieceStorage } from '../storage/storage.ts'
import { expectCode, expectThat } from './expectations.ts'
import { expectSpan } from './storage-access.ts'
import { type StoragePromises, type WritablePieces, writePiece } from './storage-medium.ts'
import { storageSample } from './storage-sample.ts'

const MISSING = 'ISTHMUS_PIECE_MISSING'

/** What a storage promises that outlives its process. */
export const persisting: StoragePromises = {
  'what was committed is verified after closing and opening again': async (medium) => {
    const before = await medium.openWritable()
    await writePiece(before, medium.sample, 0)
    await before.commit(0)
    await writePiece(before, medium.sample, 2)
    await before.commit(2)
    await medium.restart()
    const pieces = await medium.open()
    const { present, verified } = await pieces.state()
    expectThat(verified.count === 2, `${verified.count} pieces are verified instead of 2`)
    expectThat(verified.has(0) && verified.has(2), 'another piece is verified than was committed')
    expectThat(present.has(0) && present.has(2), 'a verified piece is not present')
    const { layout } = medium.sample.metainfo
    await expectSpan(pieces, medium.sample, layout.pieceRange(0))
    await expectSpan(pieces, medium.sample, layout.pieceRange(2))
    if (!present.has(1)) {
      await expectCode(pieces.read(layout.pieceRange(1)), MISSING, 'read of a piece never written')
    }
  },

  'what was written and not committed is never verified after opening again': async (medium) => {
    const before = await medium.openWritable()
    await writePiece(before, medium.sample, 1)
    await medium.restart()
    const { verified } = await (await medium.open()).state()
    expectThat(verified.count === 0, 'a piece is verified that was never committed')
  },

  'writing over a committed piece takes its verification away': async (medium) => {
    const before = await medium.openWritable()
    await writePiece(before, medium.sample, 0)
    await before.commit(0)
    await before.write(10, new Uint8Array(10))
    await medium.restart()
    const { verified } = await (await medium.open()).state()
    expectThat(!verified.has(0), 'a piece is verified that was written to since')
  },

  'a torrent is completed over several sessions': async (medium) => {
    const { layout } = medium.sample.metainfo
    for (let piece = 0; piece < layout.pieceCount; piece++) {
      const pieces = await medium.openWritable()
      await writePiece(pieces, medium.sample, piece)
      await pieces.commit(piece)
      await medium.restart()
    }
    const pieces = await medium.open()
    const { verified } = await pieces.state()
    expectThat(verified.isFull, `${verified.count} of ${layout.pieceCount} pieces are verified`)
    await expectSpan(pieces, medium.sample, { start: 0, end: layout.length })
  },

  'two namespaces are kept apart after opening again': async (medium) => {
    const before = await medium.openWritable(undefined, { namespace: 'mine' })
    await writePiece(before, medium.sample, 0)
    await before.commit(0)
    await medium.restart()
    const mine = await (await medium.open(undefined, { namespace: 'mine' })).state()
    const none = await (await medium.open()).state()
    expectThat(mine.verified.has(0), 'the committed piece of a namespace is gone')
    expectThat(none.present.count === 0, 'a piece of one namespace is present outside of it')
  },
}

/** What a storage promises that forgets single pieces. */
export const evicting: StoragePromises = {
  'an evicted piece is gone, the others stay, and it can be written again': async (medium) => {
    const pieces = await medium.openComplete()
    expectThat(pieces.evict !== undefined, 'evict is missing: rule it out if it should be')
    const { layout } = medium.sample.metainfo
    await pieces.evict(1)
    await expectGone(pieces, 1)
    await expectSpan(pieces, medium.sample, layout.pieceRange(0))
    await expectSpan(pieces, medium.sample, layout.pieceRange(2))
    await expectCode(pieces.read(layout.pieceRange(1)), MISSING, 'read of an evicted piece')
    const writable = pieces as WritablePieces
    await writePiece(writable, medium.sample, 1)
    await writable.commit(1)
    await expectSpan(pieces, medium.sample, { start: 0, end: layout.length })
  },

  'evicting a part-written, a missing, and an evicted piece does no harm': async (medium) => {
    const pieces = await medium.openWritable()
    expectThat(pieces.evict !== undefined, 'evict is missing: rule it out if it should be')
    await pieces.write(100, medium.sample.content.slice(100, 200))
    await pieces.evict(0)
    await pieces.evict(0)
    await pieces.evict(1)
    await expectGone(pieces, 0)
    await expectCode(pieces.read({ start: 100, end: 200 }), MISSING, 'read of an evicted part')
  },

  'an evicted piece is not verified after opening again': async (medium) => {
    const before = await medium.openComplete()
    expectThat(before.evict !== undefined, 'evict is missing: rule it out if it should be')
    await before.evict(1)
    await medium.restart()
    const { verified } = await (await medium.open()).state()
    expectThat(!verified.has(1), 'an evicted piece is verified after opening again')
  },
}

/** What a storage promises that deletes torrents. */
export const destroying: StoragePromises = {
  'destroying closes, and what is opened again is empty': async (medium) => {
    const before = await medium.openComplete()
    expectThat(before.destroy !== undefined, 'destroy is missing: rule it out if it should be')
    await before.destroy()
    await expectCode(before.state(), 'ISTHMUS_STORAGE_CLOSED', 'state after destroy')
    await before.close()
    const pieces = await medium.open()
    const { present } = await pieces.state()
    expectThat(present.count === 0, `${present.count} pieces are there after destroy`)
    await expectCode(pieces.read({ start: 0, end: 1 }), MISSING, 'read after destroy')
  },

  'destroying leaves other torrents and namespaces alone': async (medium) => {
    const others = storageSample(2)
    const kept = await medium.openComplete(others)
    const namespaced = await medium.openComplete(undefined, { namespace: 'kept' })
    const destroyed = await medium.openComplete()
    expectThat(destroyed.destroy !== undefined, 'destroy is missing: rule it out if it should be')
    await destroyed.destroy()
    await expectSpan(kept, others, { start: 0, end: others.content.length })
    await expectSpan(namespaced, medium.sample, { start: 0, end: medium.sample.content.length })
  },
}

export const destroyingForGood: StoragePromises = {
  'what was destroyed stays so after opening again': async (medium) => {
    await medium.openComplete()
    await medium.restart()
    const pieces = await medium.open()
    expectThat(pieces.destroy !== undefined, 'destroy is missing: rule it out if it should be')
    await pieces.destroy()
    await medium.restart()
    const { present, verified } = await (await medium.open()).state()
    expectThat(present.count === 0 && verified.count === 0, 'something is left after destroy')
  },
}

async function expectGone(pieces: PieceStorage, piece: number): Promise<void> {
  const { present, verified } = await pieces.state()
  expectThat(!present.has(piece), `piece ${piece} is present after it was evicted`)
  expectThat(!verified.has(piece), `piece ${piece} is verified after it was evicted`)
}
