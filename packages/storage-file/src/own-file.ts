import { close, constants, fdatasync, fstat, fsync, open } from 'node:fs'
import { rename } from 'node:fs/promises'
import { promisify } from 'node:util'
import { isErrno, isIsthmusError, type RootDirectory, readFully, writeFully } from '@isthmus/core'

const closeOf = promisify(close)
const fsyncOf = promisify(fsync)
const openOf = promisify(open)

export const fstatOf = promisify(fstat)
export const fdatasyncOf = promisify(fdatasync)

/** Reads a file of ours; undefined where there is none, or one that is longer than `maxBytes`, or a link. */
export async function readOwnFile(
  root: RootDirectory,
  components: readonly string[],
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  let fd: number
  try {
    fd = await root.open(components, constants.O_RDONLY)
  } catch (error) {
    if (isErrno(error, 'ENOENT') || isIsthmusError(error, 'ISTHMUS_PATH_UNSAFE')) return undefined
    throw error
  }
  try {
    const { size } = await fstatOf(fd)
    if (size > maxBytes) return undefined
    const bytes = new Uint8Array(size)
    return bytes.subarray(0, await readFully(fd, bytes, 0))
  } finally {
    await closeOf(fd)
  }
}

/**
 * Replaces a file of ours in one step: whoever reads it sees the old bytes or the new ones. Where it
 * is `durable`, the new ones are on the medium once this resolves.
 */
export async function writeOwnFile(
  root: RootDirectory,
  components: readonly string[],
  bytes: Uint8Array,
  options: { readonly durable?: boolean | undefined } = {},
): Promise<void> {
  const { durable = false } = options
  const parents = components.slice(0, -1)
  const temporary = [...parents, `${components.at(-1)}.tmp`]
  const { O_WRONLY, O_CREAT, O_EXCL } = constants
  await root.remove(temporary)
  try {
    const fd = await root.open(temporary, O_WRONLY | O_CREAT | O_EXCL)
    try {
      await writeFully(fd, bytes, 0)
      if (durable) await fsyncOf(fd)
    } finally {
      await closeOf(fd)
    }
    await rename(root.pathOf(temporary), root.pathOf(components))
  } catch (error) {
    await root.remove(temporary).catch(() => {})
    throw error
  }
  if (durable) await syncDirectory(root.pathOf(parents))
}

/** Makes new names in a directory last. Some systems cannot sync a directory; there the names do without. */
export async function syncDirectory(path: string): Promise<void> {
  try {
    const fd = await openOf(path, constants.O_RDONLY)
    try {
      await fsyncOf(fd)
    } finally {
      await closeOf(fd)
    }
  } catch (error) {
    if (!isErrno(error, 'EISDIR', 'EPERM', 'EINVAL', 'ENOTSUP', 'ENOENT')) throw error
  }
}
