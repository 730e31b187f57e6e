import { Child } from './child.ts'

export interface Aria2Options {
  /** Path of a .torrent file. */
  readonly torrent: string
  /** Where the torrent's name will be. */
  readonly directory: string
  /** It takes no peers by hand, so a tracker has to name them. */
  readonly tracker: string
  /** Makes obfuscated connections alone. @defaultValue false */
  readonly encrypted?: boolean
}

/** aria2c downloading one torrent; it ends when it has everything. */
export class Aria2 {
  readonly #child: Child

  private constructor(child: Child) {
    this.#child = child
  }

  static download({ torrent, directory, tracker, encrypted = false }: Aria2Options): Aria2 {
    const args = [
      '--no-conf',
      '--interface=127.0.0.1',
      '--disable-ipv6=true',
      '--enable-dht=false',
      '--enable-dht6=false',
      '--bt-enable-lpd=false',
      '--enable-peer-exchange=false',
      `--bt-tracker=${tracker}`,
      ...(encrypted ? ['--bt-require-crypto=true', '--bt-min-crypto-level=arc4'] : []),
      '--file-allocation=none',
      '--seed-time=0',
      '--summary-interval=0',
      '--enable-color=false',
      `--dir=${directory}`,
      torrent,
    ]
    return new Aria2(new Child('aria2c', args))
  }

  async done(timeoutMs = 50_000): Promise<void> {
    await this.#child.line(/^\(OK\):download completed/, timeoutMs)
  }

  async stop(): Promise<void> {
    await this.#child.stop()
  }
}
