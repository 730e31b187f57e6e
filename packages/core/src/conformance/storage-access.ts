import type { ByteRange } from '../byte-source.ts'
import type { PieceStorage } from '../storage/storage.ts'
import { expectBytes, expectCode, expectReason, expectThat } from './expectations.ts'
import { bytesOf, type StoragePromises } from './storage-medium.ts'
import type { StorageSample } from './storage-sample.ts'

/** What every storage promises about bytes that are there. */
export const reading: StoragePromises = {
  'reading finds every byte at and beside every boundary of pieces and files': async (medium) => {
    const pieces = await medium.openComplete()
    for (const span of spansAtBoundaries(medium.sample)) {
      await expectSpan(pieces, medium.sample, span)
    }
  },

  'reading the whole torrent in one call answers all of its bytes': async (medium) => {
    const pieces = await medium.openComplete()
    await expectSpan(pieces, medium.sample, { start: 0, end: medium.sample.content.length })
  },

  'reading many spans at once mixes nothing up': async (medium) => {
    const pieces = await medium.openComplete()
    const spans = spansAtBoundaries(medium.sample)
    await Promise.all(spans.map((span) => expectSpan(pieces, medium.sample, span)))
  },

  'reading an empty span answers no bytes': async (medium) => {
    const pieces = await medium.openComplete()
    for (const offset of [0, 1, medium.sample.content.length]) {
      await expectSpan(pieces, medium.sample, { start: offset, end: offset })
    }
  },

  'reading fills `into`, nothing beside it, and answers it': async (medium) => {
    const pieces = await medium.openComplete()
    for (const span of spansAtBoundaries(medium.sample).slice(0, 40)) {
      const size = span.end - span.start
      const around = new Uint8Array(size + 2).fill(0xa5)
      const into = around.subarray(1, size + 1)
      const answer = await pieces.read(span, { into })
      expectThat(answer === into, 'read answered another buffer than `into`')
      expectBytes(into, bytesOf(medium.sample, span), `read of ${text(span)} with \`into\``)
      expectThat(
        around[0] === 0xa5 && around[size + 1] === 0xa5,
        `read of ${text(span)} wrote beside \`into\``,
      )
    }
  },

  'the answer of a read is the own buffer of the caller': async (medium) => {
    const pieces = await medium.openComplete()
    const span = { start: 0, end: Math.min(1000, medium.sample.content.length) }
    const answer = await pieces.read(span)
    answer.fill(0)
    await expectSpan(pieces, medium.sample, span)
  },

  'the state has one bit per piece, and all that is there in `present`': async (medium) => {
    const pieces = await medium.openComplete()
    const { layout } = medium.sample.metainfo
    const { present, verified } = await pieces.state()
    expectThat(present.length === layout.pieceCount, 'present does not have one bit per piece')
    expectThat(verified.length === layout.pieceCount, 'verified does not have one bit per piece')
    for (let piece = 0; piece < layout.pieceCount; piece++) {
      expectThat(present.has(piece), `piece ${piece} is there and not present`)
    }
  },

  '`trust` is one of the words, and `inMemory` a boolean if it is there': async (medium) => {
    const { trust, inMemory } = await medium.open()
    expectThat(trust === 'owned' || trust === 'mutable', `trust is ${trust}`)
    expectThat(
      inMemory === undefined || typeof inMemory === 'boolean',
      `inMemory is ${String(inMemory)}`,
    )
  },

  'a signal that is aborted beforehand rejects with its own reason': async (medium) => {
    const pieces = await medium.openComplete()
    const reason = new Error('the caller went away')
    const options = { signal: AbortSignal.abort(reason) }
    await expectReason(medium.open(undefined, options), reason, 'open')
    await expectReason(pieces.state(options), reason, 'state')
    await expectReason(pieces.read({ start: 0, end: 1 }, options), reason, 'read')
  },

  'a signal that aborts during a read ends in the bytes or in its own reason': async (medium) => {
    const pieces = await medium.openComplete()
    const controller = new AbortController()
    const reason = new Error('the caller went away')
    const span = { start: 0, end: medium.sample.content.length }
    const answer = pieces.read(span, { signal: controller.signal })
    controller.abort(reason)
    const outcome = await answer.catch((error: unknown) => error)
    if (outcome instanceof Uint8Array) expectBytes(outcome, medium.sample.content, 'read')
    else expectThat(outcome === reason, `read rejected with ${outcome} instead of signal.reason`)
    await expectSpan(pieces, medium.sample, span)
  },
}

/** What every storage promises about its end. */
export const closing: StoragePromises = {
  'closing again, and while closing, does nothing': async (medium) => {
    const pieces = await medium.openComplete()
    await Promise.all([pieces.close(), pieces.close()])
    await pieces.close()
  },

  'leaving an `await using` block closes': async (medium) => {
    const pieces = await medium.openComplete()
    await pieces[Symbol.asyncDispose]()
    await expectCode(pieces.state(), 'ISTHMUS_STORAGE_CLOSED', 'state after asyncDispose')
  },

  'after closing every call rejects with ISTHMUS_STORAGE_CLOSED': async (medium) => {
    const pieces = await medium.openComplete()
    await pieces.close()
    const code = 'ISTHMUS_STORAGE_CLOSED'
    await expectCode(pieces.state(), code, 'state after close')
    await expectCode(pieces.read({ start: 0, end: 1 }), code, 'read after close')
    if (pieces.write !== undefined) {
      await expectCode(pieces.write(0, new Uint8Array(1)), code, 'write after close')
    }
    if (pieces.commit !== undefined) await expectCode(pieces.commit(0), code, 'commit after close')
    if (pieces.evict !== undefined) await expectCode(pieces.evict(0), code, 'evict after close')
    if (pieces.destroy !== undefined)
      await expectCode(pieces.destroy(), code, 'destroy after close')
  },

  'closing waits for the reads under way': async (medium) => {
    const pieces = await medium.openComplete()
    const span = { start: 0, end: medium.sample.content.length }
    const reads = [0, 1, 2, 3].map(() => pieces.read(span))
    let done = 0
    const counted = reads.map((read) => read.then(() => done++))
    await pieces.close()
    await Promise.resolve()
    expectThat(done === reads.length, `close resolved before ${reads.length - done} reads did`)
    await Promise.all(counted)
    for (const read of reads) expectBytes(await read, medium.sample.content, 'read during close')
  },

  'a torrent opens again after closing': async (medium) => {
    const before = await medium.openComplete()
    await before.close()
    const pieces = await medium.open()
    const { present, verified } = await pieces.state()
    for (let piece = 0; piece < present.length; piece++) {
      expectThat(
        !verified.has(piece) || present.has(piece),
        `piece ${piece} is verified, not present`,
      )
      if (present.has(piece)) {
        await expectSpan(pieces, medium.sample, medium.sample.metainfo.layout.pieceRange(piece))
      }
    }
  },
}

export async function expectSpan(
  pieces: PieceStorage,
  sample: StorageSample,
  span: ByteRange,
): Promise<void> {
  expectBytes(await pieces.read(span), bytesOf(sample, span), `read of ${text(span)}`)
}

/** Short and long spans that start and end at, one before, and one behind each boundary. */
export function spansAtBoundaries({ metainfo, content }: StorageSample): ByteRange[] {
  const { layout, files } = metainfo
  const boundaries = new Set<number>([0, content.length])
  for (const file of files.slice(0, 100)) boundaries.add(file.offset).add(file.offset + file.length)
  for (let piece = 0; piece < Math.min(layout.pieceCount, 100); piece++) {
    boundaries.add(piece * layout.pieceLength)
  }
  const spans: ByteRange[] = []
  for (const boundary of boundaries) {
    for (const size of [1, 2, 16_384, layout.pieceLength + 1]) {
      for (const start of [
        boundary - size - 1,
        boundary - size,
        boundary - 1,
        boundary,
        boundary + 1,
      ]) {
        const end = start + size
        if (start >= 0 && end <= content.length) spans.push({ start, end })
      }
    }
  }
  return spans
}

function text({ start, end }: ByteRange): string {
  return `bytes ${start} to ${end}`
}
