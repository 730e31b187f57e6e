import { fileURLToPath } from 'node:url'
import { Child } from './child.ts'
import { debianPython } from './clients.ts'

const script = fileURLToPath(new URL('libtorrent_dht.py', import.meta.url))

/** A DHT node of libtorrent on loopback, from Debian's python3-libtorrent. */
export class LibtorrentDht {
  /** `host:port` that it listens on. */
  readonly address: string
  readonly #child: Child

  private constructor(child: Child, address: string) {
    this.#child = child
    this.address = address
  }

  static start(): Promise<LibtorrentDht> {
    return Child.start(debianPython, [script], async (child) => {
      const [, address = ''] = await child.line(/^READY (.+)$/)
      return new LibtorrentDht(child, address)
    })
  }

  addNode(address: string): void {
    this.#child.writeLine(`node ${address}`)
  }

  /** Resolves once it has a node in its routing table. */
  async connected(): Promise<void> {
    const asking = setInterval(() => this.#child.writeLine('nodes'), 200)
    try {
      await this.#child.line(/^NODES [1-9]/)
    } finally {
      clearInterval(asking)
    }
  }

  /** As a peer at `address`. */
  announce(infoHash: string): void {
    this.#child.writeLine(`announce ${infoHash}`)
  }

  /** Resolves once it has found `peer`, which it looks for again and again. */
  async finds(infoHash: string, peer: string): Promise<void> {
    const asking = setInterval(() => this.#child.writeLine(`find ${infoHash}`), 500)
    try {
      await this.#child.line(new RegExp(`^PEER ${peer.replaceAll('.', '\\.')}$`))
    } finally {
      clearInterval(asking)
    }
  }

  async stop(): Promise<void> {
    await this.#child.stop()
  }
}
