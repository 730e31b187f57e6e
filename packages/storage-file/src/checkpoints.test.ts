import { Bitfield, IsthmusError, parseMetainfo, WrittenBytes } from '@isthmus/core'
import { describe, expect, test, vi } from 'vitest'
import { makeTorrent, randomBytes } from '../../../test/support/torrents.ts'
import { Checkpoints } from './checkpoints.ts'
import type { FileMark, TorrentState } from './torrent-state.ts'
import { Turns } from './turns.ts'

const { torrent } = makeTorrent({ files: randomBytes(4 * 16_384, 1), pieceLength: 16_384 })
const { layout } = parseMetainfo(torrent)
const mark: FileMark = { size: 4 * 16_384, mtimeMs: 1, ino: 1 }
const failed = new IsthmusError('ISTHMUS_STORAGE_FAILED', 'the medium failed')

interface Medium {
  readonly sync?: () => Promise<FileMark | undefined>
  readonly save?: (state: TorrentState) => Promise<void>
}

function checkpoints(medium: Medium) {
  const log: string[] = []
  const saved: TorrentState[] = []
  const made = new Checkpoints({
    files: {
      async sync() {
        log.push('sync')
        return medium.sync === undefined ? mark : await medium.sync()
      },
      async syncNames() {
        log.push('names')
      },
    },
    stateFile: {
      async save(state) {
        log.push('save')
        await medium.save?.(state)
        saved.push(state)
      },
    },
    written: new WrittenBytes(layout, Bitfield.full(layout.pieceCount)),
    recovered: {
      present: Bitfield.full(layout.pieceCount),
      verified: new Bitfield(layout.pieceCount),
      marks: [undefined],
    },
    clean: true,
    intervalMs: 1,
    turns: new Turns(),
  })
  return { made, log, saved }
}

describe('Checkpoints', () => {
  test('data is on the medium before the state says that it is', async () => {
    const { made, log, saved } = checkpoints({})
    made.verify(1, [0])
    expect(made.synced.has(1)).toBe(false)
    await vi.waitFor(() => expect(made.synced.has(1)).toBe(true))
    expect(log).toEqual(['sync', 'names', 'save'])
    expect(saved[0]?.clean).toBe(false)
    expect(saved[0]?.marks).toEqual([mark])
    await made.close()
    expect(saved.at(-1)?.clean).toBe(true)
  })

  test('many commits make one checkpoint', async () => {
    const { made, saved } = checkpoints({})
    for (let piece = 0; piece < 4; piece++) made.verify(piece, [0])
    await vi.waitFor(() => expect(made.synced.isFull).toBe(true))
    expect(saved).toHaveLength(1)
    await made.close()
  })

  test('nothing to say writes nothing', async () => {
    const { made, log } = checkpoints({})
    await made.close()
    expect(log).toEqual([])
  })

  test('a piece that is written to again during a checkpoint is not saved as verified', async () => {
    let release = (): void => {}
    const syncing = new Promise<void>((resolve) => {
      release = resolve
    })
    const { made, log, saved } = checkpoints({
      sync: async () => {
        await syncing
        return mark
      },
    })
    made.verify(1, [0])
    made.verify(2, [0])
    await vi.waitFor(() => expect(log).toEqual(['sync']))
    made.unverify(2)
    release()
    await vi.waitFor(() => expect(saved.length).toBeGreaterThan(0))
    expect(saved[0]?.verified.has(1)).toBe(true)
    expect(saved[0]?.verified.has(2)).toBe(false)
    expect(made.synced.has(2)).toBe(false)
    await made.close()
  })

  test('after data could not be synced nothing is recorded, and nothing more is taken', async () => {
    const { made, log } = checkpoints({
      sync: async () => {
        throw failed
      },
    })
    made.verify(1, [0])
    await vi.waitFor(() => expect(() => made.assertWorking()).toThrow(failed))
    await expect(made.close()).rejects.toBe(failed)
    expect(log).toEqual(['sync'])
    expect(made.synced.count).toBe(0)
  })

  test('closing rejects where the state could not be saved', async () => {
    const { made, saved } = checkpoints({
      save: async () => {
        throw failed
      },
    })
    made.verify(1, [0])
    await expect(made.close()).rejects.toBe(failed)
    expect(saved).toEqual([])
  })

  test('a state that could not be saved is saved later, and writing goes on', async () => {
    let attempts = 0
    const { made, saved } = checkpoints({
      save: async () => {
        if (attempts++ < 2) throw failed
      },
    })
    made.verify(1, [0])
    await vi.waitFor(() => expect(made.synced.has(1)).toBe(true))
    expect(attempts).toBe(3)
    expect(() => made.assertWorking()).not.toThrow()
    expect(saved).toHaveLength(1)
    await made.close()
  })
})
