import { fileURLToPath } from 'node:url'
import { Child } from './child.ts'
import { loopback, type Place } from './place.ts'
import { type Answer, json, type RequestOptions, request } from './request.ts'

/** The built program. */
export const serverMain = fileURLToPath(
  new URL('../../examples/server/dist/main.js', import.meta.url),
)

/** A torrent as `/api/torrents` tells it. */
export interface TorrentReply {
  readonly infoHash: string
  readonly name?: string
  readonly length?: number
  readonly pieceLength?: number
  readonly progress: number
  readonly peers: number
  readonly files?: readonly { index: number; path: string; length: number; progress: number }[]
}

export interface ServerOptions {
  /** Flags besides those that keep it to itself. */
  readonly flags?: readonly string[] | undefined
  readonly place?: Place | undefined
}

/** The bundled server, built, as a process of its own with discovery off and ports of its own choice. */
export class Server {
  /** `http://host:port` */
  readonly url: string
  /** `host:port` where it accepts peers. */
  readonly peerAddress: string
  readonly #child: Child
  readonly #place: Place

  private constructor(child: Child, place: Place, url: string, peerAddress: string) {
    this.#child = child
    this.#place = place
    this.url = url
    this.peerAddress = peerAddress
  }

  /** Resolves once it says that it listens. */
  static async start({ flags = [], place = loopback }: ServerOptions = {}): Promise<Server> {
    const args = [serverMain, '--port', '0', '--dht', 'false', '--lsd', 'false', ...flags]
    // Settings of whoever runs the tests are not the tests' settings.
    const own = Object.entries(process.env).filter(([name]) => !name.startsWith('ISTHMUS_'))
    const [command, wrapped] = place.wrap(process.execPath, args)
    const ready = async (child: Child) => {
      const [, url = ''] = await child.line(/listening on (http:\/\/[^\s/]+)/)
      const [, peerAddress = ''] = await child.line(/^peers: accepted at (\S+:\d+)$/)
      return new Server(child, place, url, peerAddress)
    }
    return Child.start(command, wrapped, ready, { env: Object.fromEntries(own) })
  }

  get isRunning(): boolean {
    return this.#child.isRunning
  }

  get output(): string {
    return this.#child.output
  }

  /** `target` starts with a slash and is sent as it is. */
  request(target: string, options: RequestOptions = {}): Promise<Answer> {
    return request(`${this.url}${target}`, { place: this.#place, ...options })
  }

  /** Bytes `start` up to but not including `end` of a file, by a range request. */
  range(target: string, start: number, end: number): Promise<Answer> {
    return this.request(target, { headers: { range: `bytes=${start}-${end - 1}` } })
  }

  addTorrent(torrent: Uint8Array, peers: readonly string[] = []): Promise<Answer> {
    const query = peers.map((peer) => `peer=${encodeURIComponent(peer)}`).join('&')
    return this.request(`/api/torrents${query === '' ? '' : `?${query}`}`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-bittorrent' },
      body: torrent,
    })
  }

  addMagnet(magnet: string, peers: readonly string[] = []): Promise<Answer> {
    return this.#post('/api/torrents', { magnet, peers })
  }

  addPeers(infoHash: string, peers: readonly string[]): Promise<Answer> {
    return this.#post(`/api/torrents/${infoHash}/peers`, { peers })
  }

  async torrents(): Promise<readonly TorrentReply[]> {
    const reply = json(await this.request('/api/torrents')) as { torrents: TorrentReply[] }
    return reply.torrents
  }

  /** Asks it to end; resolves with its exit code. Rejects where something in it was caught by nobody. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | undefined> {
    const code = await this.#child.stop(signal)
    const [uncaught] = this.output.match(/^(uncaught exception|unhandled rejection).*/ms) ?? []
    if (uncaught !== undefined) throw new Error(`the server met an ${uncaught}`)
    return code
  }

  #post(target: string, body: object): Promise<Answer> {
    return this.request(target, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  }
}

export function torrentReply(answer: Answer): TorrentReply {
  return json(answer) as TorrentReply
}

/** The request target of a file whose path begins with the torrent's name. */
export function targetOf(infoHash: string, path: string): string {
  return `/${infoHash}/${path.split('/').map(encodeURIComponent).join('/')}`
}
