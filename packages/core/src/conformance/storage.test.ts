import { describe, expect, test } from 'vitest'
import { MemoryStorage } from '../storage/memory-storage.ts'
import type { PieceStorage, Storage } from '../storage/storage.ts'
import { type StorageTraits, storageConformance } from './storage.ts'

type Altered = { readonly [K in keyof PieceStorage]?: PieceStorage[K] | undefined }

/** One promise broken, and a case that must notice. */
const broken: readonly (readonly [string, string, (pieces: PieceStorage) => Altered])[] = [
  [
    'reads one byte too far on',
    'reading finds every byte at and beside every boundary of pieces and files',
    (pieces) => ({
      read: (span, options) =>
        span.start > 0 && span.end > span.start
          ? pieces.read({ start: span.start - 1, end: span.end - 1 }, options)
          : pieces.read(span, options),
    }),
  ],
  [
    'does not fill `into`',
    'reading fills `into`, nothing beside it, and answers it',
    (pieces) => ({ read: (span, { into: _, ...options } = {}) => pieces.read(span, options) }),
  ],
  [
    'answers zeros for what is missing',
    'a read over a piece that is not there rejects, whatever is around it',
    (pieces) => ({
      read: (span, options) =>
        pieces.read(span, options).catch(() => new Uint8Array(span.end - span.start)),
    }),
  ],
  [
    'throws errors of its own',
    'reading beside what was written rejects with ISTHMUS_PIECE_MISSING',
    (pieces) => ({
      read: (span, options) =>
        pieces.read(span, options).catch(() => {
          throw new Error('ENOENT')
        }),
    }),
  ],
  [
    'drops the last byte of a write',
    'one run over several pieces and files is written whole',
    (pieces) => ({
      write: async (offset, bytes) => pieces.write?.(offset, bytes.subarray(0, bytes.length - 1)),
    }),
  ],
  [
    'forgets to make a committed piece present',
    'a committed piece is present, and no other',
    (pieces) => ({
      state: async () => {
        const state = await pieces.state()
        state.present.clear(1)
        return state
      },
    }),
  ],
  [
    'goes on although the signal was aborted',
    'a signal that is aborted beforehand rejects with its own reason',
    (pieces) => ({ read: (span) => pieces.read(span) }),
  ],
  [
    'keeps a piece that was evicted',
    'an evicted piece is gone, the others stay, and it can be written again',
    () => ({ evict: async () => {} }),
  ],
  [
    'stays open when it is closed',
    'after closing every call rejects with ISTHMUS_STORAGE_CLOSED',
    () => ({ close: async () => {} }),
  ],
  [
    'admits everything at once',
    'reserving waits until enough was given back, and giving back twice counts once',
    () => ({ capacity: { maxBytes: 10, reserve: async () => ({ [Symbol.dispose]() {} }) } }),
  ],
  [
    'leaves evict out and does not say so',
    'evicting a part-written, a missing, and an evicted piece does no harm',
    () => ({ evict: undefined }),
  ],
]

describe('the conformance suite of storages', () => {
  test.each(broken)('finds a storage that %s', async (_, name, breaking) => {
    const found = storageConformance(async () => ({ open: async () => altered(breaking) })).find(
      (case_) => case_.name === name,
    )
    await expect(found?.run()).rejects.toMatchObject({ code: 'ISTHMUS_CONFORMANCE_FAILED' })
  })

  test('finds a storage that keeps nothing and says that it does', async () => {
    const failed = await failures({ persists: true })
    expect(failed).toContain('what was committed is verified after closing and opening again')
  })

  test('finds a storage that writes and was said not to, and one that provides nothing', async () => {
    const failed = await failures({ without: ['write'] })
    expect(failed).toContain('the state has one bit per piece, and all that is there in `present`')
  })

  test('disposes of the medium of every case, of one that fails too', async () => {
    let made = 0
    let disposed = 0
    const setup = async () => {
      made++
      return {
        open: async () => altered(() => ({ read: async () => new Uint8Array(0) })),
        dispose: async () => {
          disposed++
        },
      }
    }
    const cases = storageConformance(setup)
    const outcomes = await Promise.allSettled(cases.map(({ run }) => run()))
    expect(outcomes.some(({ status }) => status === 'rejected')).toBe(true)
    expect(made).toBe(cases.length)
    expect(disposed).toBe(made)
  })

  test('names every case once', () => {
    const names = storageConformance(memory, { persists: true }).map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
  })
})

const memory = async () => ({ open: async () => new MemoryStorage() })

async function failures(traits: StorageTraits): Promise<string[]> {
  const failed: string[] = []
  for (const { name, run } of storageConformance(memory, traits)) {
    await run().catch(() => failed.push(name))
  }
  return failed
}

/** A memory storage with some methods replaced. */
function altered(breaking: (pieces: PieceStorage) => Altered): Storage {
  const storage = new MemoryStorage()
  return {
    async open(metainfo, options) {
      const pieces = await storage.open(metainfo, options)
      const changed = breaking(pieces)
      return new Proxy(pieces, {
        get(target, key) {
          if (key in changed) return Reflect.get(changed, key)
          const value: unknown = Reflect.get(target, key, target)
          return typeof value === 'function' ? value.bind(target) : value
        },
      })
    },
  }
}
