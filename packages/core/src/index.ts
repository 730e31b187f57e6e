/**
 * Torrents as bytes that can be read by range: metainfo, wire, swarm, storage contract, reader, client.
 *
 * @packageDocumentation
 */

export {
  assertRange,
  type ByteRange,
  type ByteSource,
  type ReadOptions,
  type ReadPurpose,
  type Resource,
} from './byte-source.ts'
// The two nouns that a user holds
export {
  type AddOptions,
  Client,
  type ClientEvents,
  type ClientOptions,
  type DhtOptions,
  type ListenOptions,
  type RemoveOptions,
} from './client.ts'
export { DhtDiscovery, type DhtDiscoveryOptions } from './discovery/dht-discovery.ts'
export type { DhtStateStore } from './discovery/dht-state.ts'
// Discovery
export type {
  AnnounceEvent,
  AnnounceOptions,
  Discovery,
  TransferTotals,
} from './discovery/discovery.ts'
export { LsdDiscovery, type LsdDiscoveryOptions } from './discovery/lsd-discovery.ts'
export type { Schedule } from './discovery/schedule.ts'
export {
  TrackerDiscovery,
  type TrackerDiscoveryOptions,
  type TrackerStatus,
} from './discovery/tracker-discovery.ts'
// What everything stands on
export { type ErrorCode, IsthmusError, isIsthmusError } from './errors.ts'
// Folders
export { FolderStorage, type FolderStorageOptions } from './folder/folder-storage.ts'
export { createLimits, defaultLimits, type Limits } from './limits.ts'
// Metainfo
export {
  BencodeDict,
  type BencodeInput,
  type BencodeLimits,
  type BencodeValue,
  decodeBencode,
  decodeBencodePrefix,
  encodeBencode,
} from './metainfo/bencode.ts'
export { Bitfield } from './metainfo/bitfield.ts'
export { diskPaths } from './metainfo/disk-paths.ts'
export {
  type InfoHash,
  type InfoHashV1,
  type InfoHashV2,
  infoHashBytes,
  infoHashV1FromBytes,
  infoHashV2FromBytes,
  parseInfoHash,
  primaryInfoHash,
  sameTorrent,
  type TorrentId,
  torrentIdOf,
  wireInfoHash,
} from './metainfo/info-hash.ts'
export {
  BLOCK_LENGTH,
  type FileSpan,
  Layout,
  type LayoutFile,
  type LayoutOptions,
} from './metainfo/layout.ts'
export { formatMagnet, type Magnet, type MagnetOptions, parseMagnet } from './metainfo/magnet.ts'
export {
  encodeMetainfo,
  type InfoOptions,
  type Metainfo,
  type MetainfoFile,
  type MetainfoOptions,
  type MetainfoSources,
  metainfoFromInfo,
  parseMetainfo,
  pieceHash,
  pieceHashV2,
} from './metainfo/metainfo.ts'
export { SafePath, safePath } from './metainfo/safe-path.ts'
// Network
export { AddressPolicy } from './net/address-policy.ts'
export {
  EgressGuard,
  type EgressGuardOptions,
  type EgressTarget,
  type ResolveOptions,
} from './net/egress-guard.ts'
export { type FetchedBytes, type FetchOptions, fetchBytes } from './net/fetch-bytes.ts'
export { formatPeerAddress, type PeerAddress, parsePeerAddress } from './net/peer-address.ts'
export type { SeedingChoice } from './picker/choker.ts'
export { TorrentFile } from './reader/torrent-file.ts'
export type { SessionStore } from './session.ts'
export { type AbortOptions, abortable, deadline } from './signal.ts'
// Storage
export { recyclePieceBuffer, takePieceBuffer } from './storage/buffer-pool.ts'
// For those who write storages
export { ByteCapacity } from './storage/byte-capacity.ts'
export { MemoryStorage, type MemoryStorageOptions } from './storage/memory-storage.ts'
export { OpenFiles } from './storage/open-files.ts'
export { readFully, writeFully } from './storage/positioned-io.ts'
export { readBuffer } from './storage/read-buffer.ts'
export { isErrno, RootDirectory } from './storage/root-directory.ts'
export type {
  PieceStorage,
  Storage,
  StorageCapacity,
  StorageOpenOptions,
  StorageState,
} from './storage/storage.ts'
export { storageError } from './storage/storage-error.ts'
export { WorkGate } from './storage/work-gate.ts'
export { WrittenBytes } from './storage/written-bytes.ts'
export type { Rates } from './swarm/rates.ts'
export { type DownloadOptions, Torrent, type TorrentEvents } from './torrent.ts'
export type { ParsedTorrent, TorrentSource } from './torrent-source.ts'
// The wire, for tools that talk to a single peer
export type { ControlHandler } from './wire/control-plane.ts'
export type { BlockHandler, BlockProvider, BlockRequest } from './wire/data-plane.ts'
export type { ExtendedHandshake } from './wire/extended-handshake.ts'
export type { BlockSink } from './wire/frames.ts'
export type { Handshake } from './wire/handshake.ts'
export type {
  ObfuscationMethod,
  ObfuscationPolicy,
  ObfuscationSettings,
} from './wire/obfuscation-policy.ts'
export { Wire, type WireHandler, type WireOptions, type WireShape } from './wire/wire.ts'
