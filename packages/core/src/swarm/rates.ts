import { RateShare } from './rate-share.ts'

/**
 * Bytes of blocks per second at most; `Infinity`, the default, is no limit, and 0 lets nothing pass.
 * May be changed at any time, and takes effect at once. What a limit allows is shared fairly: between
 * the torrents of a client, and between the peers of a torrent.
 */
export interface Rates {
  /** From all peers together. */
  download: number
  /** To all peers together. */
  upload: number
  /** From each peer. */
  downloadPerPeer: number
  /** To each peer. */
  uploadPerPeer: number
}

/** The two shares of one peer. */
export interface PeerRates {
  readonly download: RateShare
  readonly upload: RateShare
}

/** The limits of a client, or of a torrent below it. */
export class SharedRates implements Rates {
  readonly downloadShare: RateShare
  readonly uploadShare: RateShare
  /** Those below. */
  readonly torrents = new Set<SharedRates>()
  readonly #parent: SharedRates | undefined
  readonly #peers = new Set<PeerRates>()
  #downloadPerPeer = Number.POSITIVE_INFINITY
  #uploadPerPeer = Number.POSITIVE_INFINITY

  constructor(parent?: SharedRates) {
    this.#parent = parent
    this.downloadShare = new RateShare(parent?.downloadShare)
    this.uploadShare = new RateShare(parent?.uploadShare)
    parent?.torrents.add(this)
  }

  get download(): number {
    return this.downloadShare.bytesPerSecond
  }

  set download(bytesPerSecond: number) {
    this.downloadShare.bytesPerSecond = bytesPerSecond
  }

  get upload(): number {
    return this.uploadShare.bytesPerSecond
  }

  set upload(bytesPerSecond: number) {
    this.uploadShare.bytesPerSecond = bytesPerSecond
  }

  get downloadPerPeer(): number {
    return this.#downloadPerPeer
  }

  set downloadPerPeer(bytesPerSecond: number) {
    assertRate(bytesPerSecond)
    this.#downloadPerPeer = bytesPerSecond
    this.#updatePeers()
  }

  get uploadPerPeer(): number {
    return this.#uploadPerPeer
  }

  set uploadPerPeer(bytesPerSecond: number) {
    assertRate(bytesPerSecond)
    this.#uploadPerPeer = bytesPerSecond
    this.#updatePeers()
  }

  /** Sets those that are given. @throws RangeError for a negative number or NaN. */
  set(rates: Partial<Rates>): void {
    const { download, upload, downloadPerPeer, uploadPerPeer } = rates
    if (download !== undefined) this.download = download
    if (upload !== undefined) this.upload = upload
    if (downloadPerPeer !== undefined) this.downloadPerPeer = downloadPerPeer
    if (uploadPerPeer !== undefined) this.uploadPerPeer = uploadPerPeer
  }

  /** For a peer of a torrent. The callbacks come when something may pass that could not before. */
  addPeer(wake: { readonly download: () => void; readonly upload: () => void }): PeerRates {
    const rates = {
      download: new RateShare(this.downloadShare, wake.download),
      upload: new RateShare(this.uploadShare, wake.upload),
    }
    this.#peers.add(rates)
    this.#update(rates)
    return rates
  }

  removePeer(rates: PeerRates): void {
    if (!this.#peers.delete(rates)) return
    rates.download.close()
    rates.upload.close()
  }

  /** Nothing waits here any more. */
  close(): void {
    this.#parent?.torrents.delete(this)
    this.downloadShare.close()
    this.uploadShare.close()
  }

  #updatePeers(): void {
    for (const torrent of this.torrents) torrent.#updatePeers()
    for (const peer of this.#peers) this.#update(peer)
  }

  #update({ download, upload }: PeerRates): void {
    const above = this.#parent
    const noLimit = Number.POSITIVE_INFINITY
    download.bytesPerSecond = Math.min(this.#downloadPerPeer, above?.downloadPerPeer ?? noLimit)
    upload.bytesPerSecond = Math.min(this.#uploadPerPeer, above?.uploadPerPeer ?? noLimit)
  }
}

function assertRate(bytesPerSecond: number): void {
  if (!(bytesPerSecond >= 0)) throw new RangeError(`a rate is not negative: ${bytesPerSecond}`)
}
