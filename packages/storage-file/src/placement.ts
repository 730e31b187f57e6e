import { createHash } from 'node:crypto'
import { diskPaths, type Metainfo, RootDirectory } from '@isthmus/core'
import { readOwnFile, writeOwnFile } from './own-file.ts'

/** Where one torrent lives. */
export interface Placement {
  /** The directory of the namespace: files of torrents, and our own under {@link OWN_FOLDER}. */
  readonly root: RootDirectory
  /** Components below `root`, by index of the file. */
  readonly paths: readonly (readonly string[])[]
  /** Says which torrent the top-most name belongs to. */
  readonly claim: readonly string[]
}

/** Holds what we know of torrents: their state, and which name belongs to which. */
export const OWN_FOLDER = '.isthmus'
export const NAMESPACES_FOLDER = '.namespaces'
const MAX_CLAIM_BYTES = 64

/**
 * Finds the names of a torrent's files. Names are first come, first served: where another torrent
 * has the top-most one already, all files go into a folder called like the info hash. Makes the
 * directory of the namespace where it is missing.
 */
export async function placeTorrent(
  directory: string,
  namespace: string,
  metainfo: Metainfo,
): Promise<Placement> {
  const root = await namespaceRoot(directory, namespace)
  const paths = diskPaths(metainfo.files.map((file) => file.path))
  const top = paths[0]?.[0] ?? ''
  const claim = claimPath(top)
  await root.makeParents(claim)
  if (!isReserved(top) && (await ownerOf(root, claim, metainfo.infoHash)) === metainfo.infoHash) {
    return { root, paths, claim }
  }
  // No torrent is given such a name by any other way, so nobody can have taken it.
  const { infoHash } = metainfo
  return { root, paths: paths.map((path) => [infoHash, ...path]), claim: claimPath(infoHash) }
}

async function namespaceRoot(directory: string, namespace: string): Promise<RootDirectory> {
  const root = await RootDirectory.open(directory, { create: true })
  if (namespace === '') return root
  const components = [NAMESPACES_FOLDER, namespaceFolder(namespace)]
  await root.makeParents([...components, ''])
  return await RootDirectory.open(root.pathOf(components))
}

/** Readable where it can be; the sign in front keeps clear of names that systems reserve. */
export function namespaceFolder(namespace: string): string {
  if (/^[a-z0-9_-]{1,64}$/.test(namespace)) return `+${namespace}`
  return createHash('sha256').update(namespace, 'utf16le').digest('hex')
}

function isReserved(name: string): boolean {
  const folded = fold(name)
  return (
    folded === OWN_FOLDER ||
    folded === NAMESPACES_FOLDER ||
    // The info hash of whichever torrent may need a folder of its own.
    /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(folded)
  )
}

function claimPath(name: string): string[] {
  const digest = createHash('sha256').update(fold(name)).digest('hex')
  return [OWN_FOLDER, 'names', digest.slice(0, 40)]
}

/** Takes the claim for `infoHash` unless another torrent has it. */
async function ownerOf(
  root: RootDirectory,
  claim: readonly string[],
  infoHash: string,
): Promise<string> {
  const bytes = await readOwnFile(root, claim, MAX_CLAIM_BYTES)
  const owner = new TextDecoder().decode(bytes)
  if (/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(owner)) return owner
  // Not synced, for this is on the way to the first byte: at worst a claim of the last seconds is lost.
  await writeOwnFile(root, claim, new TextEncoder().encode(infoHash))
  return infoHash
}

function fold(name: string): string {
  return name.normalize('NFC').toLowerCase()
}
