import type { Client, Torrent } from '@isthmus/core'
import { formatBytes, formatShare } from './format.ts'
import type { Output } from './output.ts'

const tickMs = 1000
/** Ticks between two lines about the same torrent. */
const ticksPerLine = 5

/** Waits for `work`; from the first second on, every second says how far it is. */
export async function withProgress<T>(
  work: Promise<T>,
  describe: () => string,
  output: Output,
): Promise<T> {
  const timer = setInterval(() => output(describe()), tickMs)
  try {
    return await work
  } finally {
    clearInterval(timer)
  }
}

interface Watched {
  ticks: number
  progress: number
}

/** Says how far downloads are that take more than a second, and that they are complete. */
export class DownloadProgress {
  readonly #client: Client
  readonly #output: Output
  readonly #watched = new WeakMap<Torrent, Watched>()
  #timer: ReturnType<typeof setInterval> | undefined

  constructor(client: Client, output: Output) {
    this.#client = client
    this.#output = output
  }

  start(): void {
    this.#timer ??= setInterval(() => this.tick(), tickMs)
    this.#timer.unref()
  }

  close(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Looks at every torrent once; `start` does so every second. */
  tick(): void {
    for (const torrent of this.#client.torrents) this.#look(torrent)
  }

  #look(torrent: Torrent): void {
    const { progress } = torrent
    const watched = this.#watched.get(torrent) ?? { ticks: 0, progress }
    this.#watched.set(torrent, watched)
    if (progress === watched.progress) return
    if (progress < 1 && watched.ticks++ % ticksPerLine === 0) this.#output(describe(torrent))
    if (progress === 1 && watched.ticks > 0) this.#output(`${nameOf(torrent)}: complete`)
    watched.progress = progress
  }
}

function describe(torrent: Torrent): string {
  const { progress, length = 0, downloadRate, peerCount } = torrent
  const rate = `${formatBytes(downloadRate)}/s from ${peerCount} ${peerCount === 1 ? 'peer' : 'peers'}`
  return `${nameOf(torrent)}: ${formatShare(progress)} of ${formatBytes(length)}, ${rate}`
}

function nameOf(torrent: Torrent): string {
  // A stranger's text on a terminal.
  return (torrent.name ?? torrent.infoHash).replace(/[\x00-\x1f\x7f-\x9f\u2028-\u202e]/g, '?')
}
