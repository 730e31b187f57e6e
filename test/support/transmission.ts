import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Child } from './child.ts'
import type { Place } from './place.ts'
import { json, request } from './request.ts'

export interface TransmissionOptions {
  /** Path of a .torrent file. */
  readonly torrent: string
  /** Where the torrent's name is, or will be. */
  readonly directory: string
  /** An empty directory for its settings. */
  readonly settings: string
  /** Takes and makes obfuscated connections alone. @defaultValue false */
  readonly encrypted?: boolean
  /** A network of its own, so that fixed ports are free. */
  readonly place: Place
}

const peerPort = 51413
const rpcPort = 9091
const seeding = 6 // TR_STATUS_SEED

interface TorrentStatus {
  readonly arguments: { readonly torrents: readonly { percentDone: number; status: number }[] }
}

/** transmission-daemon with one torrent. */
export class Transmission {
  /** `host:port` that it listens on. */
  readonly address: string
  readonly #child: Child
  readonly #place: Place
  #session = ''

  private constructor(child: Child, place: Place) {
    this.#child = child
    this.#place = place
    this.address = `${place.host}:${peerPort}`
  }

  /** Resolves once it has checked its data and seeds it. */
  static seed(options: TransmissionOptions): Promise<Transmission> {
    return Transmission.#start(options, (transmission) => transmission.done())
  }

  /** Resolves once it listens; `done()` tells when it has everything. */
  static download(options: TransmissionOptions): Promise<Transmission> {
    return Transmission.#start(options, async () => {})
  }

  static async #start(
    { torrent, directory, settings, place, encrypted = false }: TransmissionOptions,
    ready: (transmission: Transmission) => Promise<void>,
  ): Promise<Transmission> {
    const config = {
      'bind-address-ipv4': place.host,
      'dht-enabled': false,
      encryption: encrypted ? 2 : 1,
      'download-dir': directory,
      'lpd-enabled': false,
      'peer-port': peerPort,
      'pex-enabled': false,
      'port-forwarding-enabled': false,
      'rpc-authentication-required': false,
      'rpc-bind-address': '127.0.0.1',
      'rpc-port': rpcPort,
      'utp-enabled': false,
    }
    await writeFile(join(settings, 'settings.json'), JSON.stringify(config))
    const args = ['--foreground', '--log-info', '--config-dir', settings]
    return Child.start(...place.wrap('transmission-daemon', args), async (child) => {
      const transmission = new Transmission(child, place)
      await child.line(/Serving RPC/)
      const metainfo = (await readFile(torrent)).toString('base64')
      await transmission.#call('torrent-add', { metainfo, paused: false })
      await ready(transmission)
      return transmission
    })
  }

  /** Resolves once it has everything. */
  async done(timeoutMs = 50_000): Promise<void> {
    const deadline = performance.now() + timeoutMs
    // It tells nobody when a torrent is complete, so it is asked.
    while (performance.now() < deadline) {
      const reply = await this.#call('torrent-get', { fields: ['status', 'percentDone'] })
      const torrent = (reply as TorrentStatus).arguments.torrents[0]
      if (torrent?.percentDone === 1 && torrent.status === seeding) return
      await delay(100)
    }
    throw new Error(`transmission was not done after ${timeoutMs} ms\n${this.#child.output}`)
  }

  async stop(): Promise<void> {
    await this.#child.stop()
  }

  async #call(method: string, parameters: object): Promise<unknown> {
    const answer = await request(`http://127.0.0.1:${rpcPort}/transmission/rpc`, {
      method: 'POST',
      headers: { 'x-transmission-session-id': this.#session },
      body: JSON.stringify({ method, arguments: parameters }),
      place: this.#place,
    })
    const session = answer.headers['x-transmission-session-id']
    if (answer.status === 409 && typeof session === 'string' && session !== this.#session) {
      this.#session = session
      return this.#call(method, parameters)
    }
    if (answer.status !== 200) throw new Error(`transmission answered ${answer.status}`)
    return json(answer)
  }
}
