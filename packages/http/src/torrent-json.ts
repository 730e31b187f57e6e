import type { Torrent } from '@isthmus/core'

/** A torrent as `/api/torrents` tells of it. What the metadata would say is absent until it is there. */
export interface TorrentJson {
  /** v1 where there is one, else v2. */
  readonly infoHash: string
  /** Of a hybrid, which has both. */
  readonly infoHashV2?: string | undefined
  readonly name?: string | undefined
  /** Bytes. */
  readonly length?: number | undefined
  /** Bytes. */
  readonly pieceLength?: number | undefined
  /** Share of the bytes that are there and verified, 0 to 1. */
  readonly progress: number
  /** Connected peers. */
  readonly peers: number
  /** Bytes per second. */
  readonly downloadRate: number
  /** Bytes per second. */
  readonly uploadRate: number
  readonly files?: readonly FileJson[] | undefined
}

export interface FileJson {
  readonly index: number
  /** As in `/{infohash}/{path}`, not escaped. */
  readonly path: string
  /** Bytes. */
  readonly length: number
  /** Share of the bytes that are there and verified, 0 to 1. */
  readonly progress: number
}

export function torrentJson(torrent: Torrent): TorrentJson {
  return {
    infoHash: torrent.infoHash,
    infoHashV2: torrent.infoHashV2,
    name: torrent.name,
    length: torrent.length,
    pieceLength: torrent.pieceLength,
    progress: torrent.progress,
    peers: torrent.peerCount,
    downloadRate: torrent.downloadRate,
    uploadRate: torrent.uploadRate,
    files: torrent.isReady ? torrent.files.map(fileJson) : undefined,
  }
}

function fileJson({ index, path, length, progress }: FileJson): FileJson {
  return { index, path, length, progress }
}
