import type { StorageCapacity } from '../storage/storage.ts'
import { expectBytes, expectCode, expectReason, expectThat, isWaiting } from './expectations.ts'
import { expectSpan, spansAtBoundaries } from './storage-access.ts'
import { bytesOf, type CheckedMedium, type StoragePromises, writePiece } from './storage-medium.ts'
import { alignedSample, storageSample } from './storage-sample.ts'

const MISSING = 'ISTHMUS_PIECE_MISSING'

/** What a storage promises that can be written to. */
export const writing: StoragePromises = {
  'a torrent that was never written has nothing, and reading it rejects': async (medium) => {
    const pieces = await medium.openWritable()
    const { present, verified } = await pieces.state()
    expectThat(present.count === 0, `${present.count} pieces are present and were never written`)
    expectThat(verified.count === 0, `${verified.count} pieces are verified and were never written`)
    await expectCode(pieces.read({ start: 0, end: 1 }), MISSING, 'read of what was never written')
  },

  'a read sees what was written, before anything is committed': async (medium) => {
    const pieces = await medium.openWritable()
    const { content, metainfo } = medium.sample
    // Runs that begin and end anywhere, back to front.
    const size = 20_011
    for (let start = Math.floor(content.length / size) * size; start >= 0; start -= size) {
      const span = { start, end: Math.min(start + size, content.length) }
      await pieces.write(start, bytesOf(medium.sample, span))
      await expectSpan(pieces, medium.sample, span)
    }
    await expectSpan(pieces, medium.sample, { start: 0, end: content.length })
    expectThat(metainfo.layout.pieceCount > 2, 'the sample is too small')
  },

  'blocks that are written all at once, in any order, are all there': async (medium) => {
    const pieces = await medium.openWritable()
    const { content } = medium.sample
    const starts = Array.from({ length: Math.ceil(content.length / 16_384) }, (_, i) => i * 16_384)
    const shuffled = starts
      .filter((_, i) => i % 2 === 1)
      .concat(starts.filter((_, i) => i % 2 === 0))
    await Promise.all(
      shuffled.map((start) => {
        const end = Math.min(start + 16_384, content.length)
        return pieces.write(start, bytesOf(medium.sample, { start, end }))
      }),
    )
    await expectSpan(pieces, medium.sample, { start: 0, end: content.length })
  },

  'one run over several pieces and files is written whole': async (medium) => {
    const pieces = await medium.openWritable()
    const span = { start: 100, end: medium.sample.content.length - 100 }
    await pieces.write(span.start, bytesOf(medium.sample, span))
    await expectSpan(pieces, medium.sample, span)
  },

  'reading beside what was written rejects with ISTHMUS_PIECE_MISSING': async (medium) => {
    const pieces = await medium.openWritable()
    const span = { start: 1000, end: 2000 }
    await pieces.write(span.start, bytesOf(medium.sample, span))
    for (const [start, end] of [
      [999, 1001],
      [999, 1000],
      [1999, 2001],
      [2000, 2001],
      [0, 3000],
    ] as const) {
      await expectCode(pieces.read({ start, end }), MISSING, `read of bytes ${start} to ${end}`)
    }
    const { present } = await pieces.state()
    expectThat(!present.has(0), 'a piece is present of which only a part was written')
    await expectSpan(pieces, medium.sample, span)
  },

  'a read over a piece that is not there rejects, whatever is around it': async (medium) => {
    const pieces = await medium.openWritable()
    await writePiece(pieces, medium.sample, 0)
    await writePiece(pieces, medium.sample, 2)
    const { layout } = medium.sample.metainfo
    const span = { start: 0, end: layout.pieceRange(2).end }
    await expectCode(pieces.read(span), MISSING, 'read over a hole')
    await expectCode(
      pieces.read(span, { into: new Uint8Array(span.end) }),
      MISSING,
      'read over a hole with `into`',
    )
  },

  'padding reads as zeros and is never missing': async (medium) => {
    const pieces = await medium.openWritable()
    const { layout } = medium.sample.metainfo
    const padding = layout
      .filesOf({ start: 0, end: layout.length })
      .find(({ file }) => file === -1)?.range
    expectThat(padding !== undefined, 'the sample has no padding')
    await expectSpan(pieces, medium.sample, padding)
    const piece = layout.pieceAt(padding.start)
    const whole = layout.pieceRange(piece)
    await pieces.write(
      whole.start,
      bytesOf(medium.sample, { start: whole.start, end: padding.start }),
    )
    await pieces.write(padding.end, bytesOf(medium.sample, { start: padding.end, end: whole.end }))
    await expectSpan(pieces, medium.sample, whole)
  },

  'gaps in front of aligned files read as zeros and are never missing (BEP 52)': async (medium) => {
    const aligned = alignedSample()
    const pieces = await medium.openWritable(aligned)
    const { layout } = aligned.metainfo
    expectThat(layout.pieceCount === 4, 'the sample is not aligned')
    for (let piece = 0; piece < layout.pieceCount; piece++) {
      await writePiece(pieces, aligned, piece)
      await pieces.commit(piece)
    }
    for (const span of spansAtBoundaries(aligned)) await expectSpan(pieces, aligned, span)
    await expectSpan(pieces, aligned, { start: 0, end: layout.length })
    const { present } = await pieces.state()
    expectThat(present.isFull, 'a piece that ends in a gap is not present')
  },

  'bytes that failed their hash are replaced by writing again': async (medium) => {
    const pieces = await medium.openWritable()
    const range = medium.sample.metainfo.layout.pieceRange(1)
    await pieces.write(range.start, new Uint8Array(range.end - range.start).fill(7))
    await writePiece(pieces, medium.sample, 1)
    await expectSpan(pieces, medium.sample, range)
  },

  'a committed piece is present, and no other': async (medium) => {
    const pieces = await medium.openWritable()
    await writePiece(pieces, medium.sample, 1)
    await pieces.commit(1)
    const { present, verified } = await pieces.state()
    expectThat(present.has(1), 'the committed piece is not present')
    expectThat(present.count === 1, `${present.count} pieces are present instead of 1`)
    expectThat(
      verified.count === 0 || (verified.count === 1 && verified.has(1)),
      'a piece is verified that was not committed',
    )
  },

  'two torrents of the same name and layout are kept apart': async (medium) => {
    await expectApart(medium, {})
  },

  'the same torrent in two namespaces is kept apart': async (medium) => {
    const mine = await medium.openWritable(undefined, { namespace: 'mine' })
    const theirs = await medium.openWritable(undefined, { namespace: 'theirs' })
    const none = await medium.openWritable()
    await writePiece(mine, medium.sample, 0)
    await mine.commit(0)
    for (const other of [theirs, none]) {
      const { present } = await other.state()
      expectThat(present.count === 0, 'a piece of one namespace is present in another')
      await expectCode(other.read({ start: 0, end: 1 }), MISSING, 'read in another namespace')
    }
  },

  'namespaces may be called anything': async (medium) => {
    const names = ['a/b', '../a', '..', 'A', 'a', 'CON', ' ', 'é', 'x'.repeat(500), 'a\0b']
    const range = medium.sample.metainfo.layout.pieceRange(0)
    const opened = []
    for (const [index, namespace] of names.entries()) {
      const pieces = await medium.openWritable(undefined, { namespace })
      await pieces.write(range.start, new Uint8Array(range.end - range.start).fill(index))
      opened.push(pieces)
    }
    for (const [index, pieces] of opened.entries()) {
      const expected = new Uint8Array(range.end - range.start).fill(index)
      const where = `namespace ${JSON.stringify(names[index]?.slice(0, 20))}`
      expectBytes(await pieces.read(range), expected, where)
    }
  },

  'writing and committing pass the reason of an aborted signal on': async (medium) => {
    const pieces = await medium.openWritable()
    const reason = new Error('the caller went away')
    const options = { signal: AbortSignal.abort(reason) }
    await expectReason(pieces.write(0, new Uint8Array(1), options), reason, 'write')
    await expectReason(pieces.commit(0, options), reason, 'commit')
    if (pieces.evict !== undefined) await expectReason(pieces.evict(0, options), reason, 'evict')
    if (pieces.destroy !== undefined) {
      await expectReason(pieces.destroy(options), reason, 'destroy')
    }
    await expectCode(pieces.read({ start: 0, end: 1 }), MISSING, 'read after an aborted write')
  },

  'closing waits for the writes under way': async (medium) => {
    const pieces = await medium.openWritable()
    const { layout } = medium.sample.metainfo
    let done = 0
    const writes = Array.from({ length: layout.pieceCount }, (_, piece) =>
      writePiece(pieces, medium.sample, piece).then(() => done++),
    )
    await pieces.close()
    await Promise.resolve()
    expectThat(done === writes.length, `close resolved before ${writes.length - done} writes did`)
    await Promise.all(writes)
  },
}

/** What a storage promises that bounds what is held. */
export const holding: StoragePromises = {
  'all torrents of a storage share one capacity': async (medium) => {
    const one = await medium.open()
    const two = await medium.open(storageSample(2))
    expectThat(one.capacity !== undefined, 'capacity is missing: rule it out if it should be')
    expectThat(one.capacity === two.capacity, 'two torrents have a capacity each')
    const { maxBytes } = one.capacity
    expectThat(maxBytes > 0, `maxBytes is ${maxBytes}`)
  },

  'reserving waits until enough was given back, and giving back twice counts once': async (
    medium,
  ) => {
    const capacity = await capacityOf(medium)
    const first = await capacity.reserve(capacity.maxBytes)
    const second = capacity.reserve(1)
    expectThat(await isWaiting(second), 'more was admitted than maxBytes')
    first[Symbol.dispose]()
    const held = await second
    first[Symbol.dispose]()
    const third = capacity.reserve(capacity.maxBytes)
    expectThat(await isWaiting(third), 'giving back twice made room twice')
    held[Symbol.dispose]()
    const last = await third
    last[Symbol.dispose]()
  },

  'a small wish does not overtake a large one': async (medium) => {
    const capacity = await capacityOf(medium)
    const held = await capacity.reserve(1)
    const large = capacity.reserve(capacity.maxBytes)
    const small = capacity.reserve(1)
    expectThat(await isWaiting(large), 'more was admitted than maxBytes')
    expectThat(await isWaiting(small), 'a later wish was admitted before an earlier one')
    held[Symbol.dispose]()
    const admitted = await large
    admitted[Symbol.dispose]()
    const last = await small
    last[Symbol.dispose]()
  },

  'more than maxBytes is admitted alone, once nothing else is held': async (medium) => {
    const capacity = await capacityOf(medium)
    const held = await capacity.reserve(1)
    const oversize = capacity.reserve(capacity.maxBytes + 1)
    expectThat(await isWaiting(oversize), 'more than maxBytes was admitted beside something else')
    held[Symbol.dispose]()
    const admitted = await oversize
    const next = capacity.reserve(1)
    expectThat(await isWaiting(next), 'something was admitted beside more than maxBytes')
    admitted[Symbol.dispose]()
    const last = await next
    last[Symbol.dispose]()
  },

  'aborting leaves the queue, with the reason of the signal, and lets the next one in': async (
    medium,
  ) => {
    const capacity = await capacityOf(medium)
    const reason = new Error('the caller went away')
    await expectReason(
      capacity.reserve(1, { signal: AbortSignal.abort(reason) }),
      reason,
      'reserve with an aborted signal',
    )
    const controller = new AbortController()
    const held = await capacity.reserve(1)
    const large = capacity.reserve(capacity.maxBytes, { signal: controller.signal })
    const small = capacity.reserve(1)
    expectThat(await isWaiting(small), 'a later wish was admitted before an earlier one')
    controller.abort(reason)
    await expectReason(large, reason, 'reserve whose signal aborted while it waited')
    const next = await small
    next[Symbol.dispose]()
    held[Symbol.dispose]()
  },
}

async function expectApart(medium: CheckedMedium, options: { namespace?: string }): Promise<void> {
  const others = storageSample(2)
  const mine = await medium.openWritable(undefined, options)
  const theirs = await medium.openWritable(others, options)
  const range = medium.sample.metainfo.layout.pieceRange(0)
  await writePiece(mine, medium.sample, 0)
  const { present } = await theirs.state()
  expectThat(present.count === 0, 'a piece of one torrent is present in another')
  await expectCode(theirs.read(range), MISSING, 'read in another torrent')
  await writePiece(theirs, others, 0)
  await expectSpan(mine, medium.sample, range)
  await expectSpan(theirs, others, range)
}

async function capacityOf(medium: CheckedMedium): Promise<StorageCapacity> {
  const { capacity } = await medium.open()
  expectThat(capacity !== undefined, 'capacity is missing: rule it out if it should be')
  return capacity
}
