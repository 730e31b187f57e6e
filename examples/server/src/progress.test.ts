import type { Client } from '@isthmus/core'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { DownloadProgress, withProgress } from './progress.ts'

beforeEach(() => {
  vi.useFakeTimers()
})

afterEach(() => {
  vi.useRealTimers()
})

test('work of less than a second is not talked about', async () => {
  const lines: string[] = []
  const done = withProgress(
    new Promise((resolve) => setTimeout(resolve, 900, 'done')),
    () => 'working',
    (line) => lines.push(line),
  )
  await vi.advanceTimersByTimeAsync(900)
  expect(await done).toBe('done')
  expect(lines).toEqual([])
  expect(vi.getTimerCount()).toBe(0)
})

test('longer work tells how far it is, every second, and no more once it failed', async () => {
  const lines: string[] = []
  let share = 0
  const failing = withProgress(
    new Promise((_, reject) => setTimeout(reject, 3500, new Error('failed'))),
    () => `${share++}`,
    (line) => lines.push(line),
  )
  const failed = expect(failing).rejects.toThrow('failed')
  await vi.advanceTimersByTimeAsync(10_000)
  await failed
  expect(lines).toEqual(['0', '1', '2'])
  expect(vi.getTimerCount()).toBe(0)
})

test('a download is told of while it moves, and when it is complete', async () => {
  const lines: string[] = []
  const torrent = {
    ...{ name: 'a\x1b[2Jb', infoHash: 'ih', length: 2_000_000, progress: 0 },
    ...{ downloadRate: 1_500_000, peerCount: 1 },
  }
  const client = { torrents: [torrent] } as unknown as Client
  const progress = new DownloadProgress(client, (line) => lines.push(line))
  progress.start()
  await vi.advanceTimersByTimeAsync(3000)
  expect(lines).toEqual([])
  torrent.progress = 0.25
  await vi.advanceTimersByTimeAsync(3000)
  expect(lines).toEqual(['a?[2Jb: 25 % of 2.0 MB, 1.5 MB/s from 1 peer'])
  torrent.progress = 1
  await vi.advanceTimersByTimeAsync(3000)
  expect(lines.slice(1)).toEqual(['a?[2Jb: complete'])
  progress.close()
  expect(vi.getTimerCount()).toBe(0)
})

test('a torrent that was complete from the start is not talked about', async () => {
  const lines: string[] = []
  const client = { torrents: [{ progress: 1, infoHash: 'ih' }] } as unknown as Client
  const progress = new DownloadProgress(client, (line) => lines.push(line))
  progress.tick()
  progress.tick()
  expect(lines).toEqual([])
})
