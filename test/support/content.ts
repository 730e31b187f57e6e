import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { makeTorrent, randomBytes } from './torrents.ts'

export interface ContentFile {
  /** With the torrent's name first, as our routes and every client's disk have it. */
  readonly path: string
  readonly bytes: Uint8Array
}

/** A torrent of random bytes, what a seeder needs of it on disk, and what a test compares with. */
export interface Content {
  readonly infoHash: string
  readonly torrent: Uint8Array
  readonly name: string
  readonly pieceLength: number
  /** The bytes of all files, one after the other. */
  readonly bytes: Uint8Array
  readonly files: readonly ContentFile[]
}

/** About 24 MiB in files whose borders fall inside of pieces and blocks, one of them empty. */
export function manyFiles(seed: number): Content {
  return makeContent('some files', seed, 256 * 1024, [
    ['first.bin', 9_437_184 + 12_345],
    ['nothing.txt', 0],
    ['deeper/small.txt', 100],
    ['deeper/ünï ~code.bin', 14_680_064 + 77],
    ['last.bin', 1_048_576],
  ])
}

/** Some bytes over 2 MiB in two files: for tests that are not about throughput. */
export function fewFiles(seed: number): Content {
  return makeContent('few files', seed, 64 * 1024, [
    ['a.bin', 1_048_576 + 1000],
    ['b.bin', 1_048_576 + 7],
  ])
}

/** Writes the files below `directory` and the .torrent beside them; resolves with the path of the latter. */
export async function writeContent(content: Content, directory: string): Promise<string> {
  for (const { path, bytes } of content.files) {
    await mkdir(dirname(join(directory, path)), { recursive: true })
    await writeFile(join(directory, path), bytes)
  }
  const torrentFile = join(directory, `${content.infoHash}.torrent`)
  await writeFile(torrentFile, content.torrent)
  return torrentFile
}

export function magnetOf({ infoHash }: Content, trackers: readonly string[] = []): string {
  const parameters = trackers.map((url) => `&tr=${encodeURIComponent(url)}`)
  return `magnet:?xt=urn:btih:${infoHash}${parameters.join('')}`
}

type Size = readonly [path: string, length: number]

function makeContent(
  name: string,
  seed: number,
  pieceLength: number,
  sizes: readonly Size[],
): Content {
  const files = sizes.map(([path, length], index) => ({
    path: path.split('/'),
    bytes: randomBytes(length, seed * 100 + index),
  }))
  const { torrent, infoHash, content: bytes } = makeTorrent({ name, files, pieceLength })
  return {
    infoHash,
    torrent,
    name,
    pieceLength,
    bytes,
    files: files.map((file) => ({ path: [name, ...file.path].join('/'), bytes: file.bytes })),
  }
}
