import { fileURLToPath } from 'node:url'
import { Child } from './child.ts'
import { debianPython } from './clients.ts'
import { loopback, type Place } from './place.ts'

const script = fileURLToPath(new URL('libtorrent_peer.py', import.meta.url))

export interface LibtorrentOptions {
  /** Path of a .torrent file, or a magnet link. */
  readonly torrent: string
  /** Where the torrent's name is, or will be. */
  readonly directory: string
  /** @defaultValue the address of `place` */
  readonly host?: string | undefined
  readonly peers?: readonly string[] | undefined
  readonly trackers?: readonly string[] | undefined
  readonly place?: Place | undefined
  /** Takes and makes obfuscated connections alone. @defaultValue false */
  readonly encrypted?: boolean | undefined
}

/** libtorrent with one torrent, from Debian's python3-libtorrent. */
export class Libtorrent {
  /** `host:port` that it listens on. */
  readonly address: string
  readonly #child: Child

  private constructor(child: Child, address: string) {
    this.#child = child
    this.address = address
  }

  /** Resolves once it has checked its data and listens. */
  static seed(options: LibtorrentOptions): Promise<Libtorrent> {
    return Libtorrent.#start('seed', options)
  }

  /** Resolves once it listens; `done()` tells when it has everything. */
  static download(options: LibtorrentOptions): Promise<Libtorrent> {
    return Libtorrent.#start('download', options)
  }

  static async #start(mode: string, options: LibtorrentOptions): Promise<Libtorrent> {
    const { torrent, directory, place = loopback, host = place.host } = options
    const { peers = [], trackers = [] } = options
    const args = [
      script,
      mode,
      ...[torrent.startsWith('magnet:') ? '--magnet' : '--torrent', torrent],
      ...['--dir', directory],
      ...['--listen', `${host}:0`],
      ...peers.flatMap((peer) => ['--peer', peer]),
      ...trackers.flatMap((url) => ['--tracker', url]),
      ...(options.encrypted ? ['--encrypted'] : []),
    ]
    return Child.start(...place.wrap(debianPython, args), async (child) => {
      const [, address = ''] = await child.line(/^READY (.+)$/)
      return new Libtorrent(child, address)
    })
  }

  async done(timeoutMs = 50_000): Promise<void> {
    await this.#child.line(/^DONE$/, timeoutMs)
  }

  async stop(): Promise<void> {
    await this.#child.stop()
  }
}
