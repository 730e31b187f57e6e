import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import type { Content } from './content.ts'
import { sha256 } from './request.ts'
import { type Server, targetOf, torrentReply } from './server.ts'

/** Adds the torrent by its .torrent and reads it cold: far ranges first, then every file whole. */
export async function expectWholeAndRanges(
  server: Server,
  content: Content,
  peers: readonly string[],
): Promise<void> {
  const added = await server.addTorrent(content.torrent, peers)
  expect(added.status).toBe(201)
  expect(torrentReply(added)).toMatchObject({
    infoHash: content.infoHash,
    name: content.name,
    length: content.bytes.length,
    pieceLength: content.pieceLength,
    progress: 0,
    files: content.files.map(({ path, bytes }, index) => ({ index, path, length: bytes.length })),
  })
  await expectFiles(server, content)
}

/** Reads ranges and whole files of a torrent that the server knows, and compares them with the source. */
export async function expectFiles(server: Server, content: Content): Promise<void> {
  for (const { path, bytes } of content.files.toReversed()) {
    const { length } = bytes
    const ranges = [
      [length - 100_001, length],
      [(length >> 1) - 1, (length >> 1) + 40_000],
      [16_383, 16_385],
      [0, 1],
    ] as const
    for (const [start, end] of ranges.filter(([start, end]) => start >= 0 && end <= length)) {
      const answer = await server.range(targetOf(content.infoHash, path), start, end)
      expect(answer.status, path).toBe(206)
      expect(answer.headers['content-range']).toBe(`bytes ${start}-${end - 1}/${length}`)
      expect(sha256(answer.bytes), path).toBe(sha256(bytes.subarray(start, end)))
    }
  }
  for (const { path, bytes } of content.files) {
    const answer = await server.request(targetOf(content.infoHash, path))
    expect(answer.status, path).toBe(200)
    expect(answer.headers['content-length']).toBe(`${bytes.length}`)
    expect(sha256(answer.bytes), path).toBe(sha256(bytes))
  }
}

/** What another client wrote below `directory` is what the source has. */
export async function expectOnDisk(
  directory: string,
  content: Pick<Content, 'files'>,
): Promise<void> {
  for (const { path, bytes } of content.files) {
    expect(sha256(await readFile(join(directory, path))), path).toBe(sha256(bytes))
  }
}
