import { pathToFileURL } from 'node:url'
import { type AddOptions, Client, type ClientOptions } from '@isthmus/core'

/** Where the bytes go: resolves once more may come. */
export type Sink = (chunk: Uint8Array) => Promise<void>

/**
 * Streams one file of a torrent while it downloads. `source` is a magnet link, an info hash, the URL of
 * a .torrent, or its bytes; without a `path`, the largest file is taken. Resolves with the file's path.
 */
export async function streamTorrent(
  source: string | Uint8Array,
  sink: Sink,
  options: ClientOptions & AddOptions & { readonly path?: string } = {},
): Promise<string> {
  const { path, peers, signal } = options
  const client = new Client(options)
  try {
    const torrent = await client.add(source, { peers, signal })
    await torrent.ready({ signal })
    const largest = torrent.files.reduce((a, b) => (b.length > a.length ? b : a))
    const file = path === undefined ? largest : torrent.file(path)
    // Nothing is read ahead of the sink but what the client's window allows.
    for await (const chunk of file.read({ start: 0, end: file.length }, { signal })) {
      await sink(chunk)
    }
    return file.path
  } finally {
    await client.close()
  }
}

// node stream-torrent.ts 'magnet:?…' > video.mp4
if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const write: Sink = (chunk) =>
    new Promise((resolve, reject) =>
      process.stdout.write(chunk, (error) => (error ? reject(error) : resolve())),
    )
  console.error(await streamTorrent(process.argv[2] ?? '', write))
}
