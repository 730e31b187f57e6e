import { constants, lstat, open, type Stats } from 'node:fs'
import { mkdir, realpath, rmdir, unlink } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { promisify } from 'node:util'
import { IsthmusError } from '../errors.ts'
import type { AbortOptions } from '../signal.ts'

const lstatOf = promisify(lstat)
const openOf = promisify(open)

// Windows knows neither; there the check before opening has to do.
const NO_FOLLOW = constants.O_NOFOLLOW ?? 0
// A named pipe would block a thread until somebody opens its other end.
const NO_WAIT = constants.O_NONBLOCK ?? 0

const STATS_AT_ONCE = 32

/**
 * A directory, and what lies below it by plain names: no symbolic link below it is ever followed.
 * Components are names that were checked before (a `SafePath`, or what `diskPaths` made of it).
 */
export class RootDirectory {
  /** Absolute, with the links on the way to it resolved: those are the caller's own. */
  readonly path: string

  private constructor(path: string) {
    this.path = path
  }

  /** Rejects with the error of the file system where there is no such directory. */
  static async open(
    directory: string,
    options: { readonly create?: boolean | undefined } = {},
  ): Promise<RootDirectory> {
    if (options.create === true) await mkdir(directory, { recursive: true })
    return new RootDirectory(await realpath(directory))
  }

  pathOf(components: readonly string[]): string {
    return join(this.path, ...components)
  }

  /**
   * Opens a regular file with `flags` of `node:fs` `constants`. Rejects with `ISTHMUS_PATH_UNSAFE`
   * where a link, or what is no regular file, is in its place or on the way; else with the error of
   * the file system.
   *
   * @returns the descriptor, the caller's to close.
   */
  async open(components: readonly string[], flags: number): Promise<number> {
    await this.#checkParents(components)
    const path = this.pathOf(components)
    try {
      const found = await lstatOf(path)
      if (!found.isFile()) throw this.#unsafe(path, 'is no regular file')
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error
    }
    try {
      return await openOf(path, flags | NO_FOLLOW | NO_WAIT, 0o666)
    } catch (error) {
      if (isErrno(error, 'ELOOP')) throw this.#unsafe(path, 'is a symbolic link', error)
      throw error
    }
  }

  /**
   * What is there for each of `paths`, a link not followed: undefined where nothing is, and the error
   * `ISTHMUS_PATH_UNSAFE` where the way leads through a link. Looks at each directory once.
   */
  async statAll(
    paths: readonly (readonly string[])[],
    options: AbortOptions = {},
  ): Promise<readonly (Stats | IsthmusError | undefined)[]> {
    const directories = new Map<string, Promise<IsthmusError | boolean>>()
    const look = async (components: readonly string[]) => {
      let path = this.path
      for (const component of components.slice(0, -1)) {
        path = join(path, component)
        let directory = directories.get(path)
        if (directory === undefined) {
          directory = this.#lookAtDirectory(path)
          directories.set(path, directory)
        }
        const found = await directory
        if (found instanceof IsthmusError) return found
        if (!found) return undefined
      }
      return await lstatOf(this.pathOf(components)).catch((error: unknown) => {
        if (isErrno(error, 'ENOENT', 'ENOTDIR')) return undefined
        throw error
      })
    }
    const found: (Stats | IsthmusError | undefined)[] = []
    // In groups: a torrent may have 100,000 files, and the threads are everybody's.
    for (let start = 0; start < paths.length; start += STATS_AT_ONCE) {
      options.signal?.throwIfAborted()
      found.push(...(await Promise.all(paths.slice(start, start + STATS_AT_ONCE).map(look))))
    }
    return found
  }

  /** Deletes what is no directory, a link itself and not what it leads to. Nothing there is fine. */
  async remove(components: readonly string[]): Promise<void> {
    try {
      await this.#checkParents(components)
      await unlink(this.pathOf(components))
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw error
    }
  }

  /** Deletes a directory where it is empty, else leaves it. */
  async removeIfEmpty(components: readonly string[]): Promise<void> {
    try {
      await this.#checkParents(components)
      await rmdir(this.pathOf(components))
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'ENOTDIR', 'ENOTEMPTY', 'EEXIST')) throw error
    }
  }

  /** Makes the directories above a file, as far as they are missing. */
  async makeParents(components: readonly string[]): Promise<void> {
    let path = this.path
    for (const component of components.slice(0, -1)) {
      path = join(path, component)
      try {
        await mkdir(path)
      } catch (error) {
        if (!isErrno(error, 'EEXIST')) throw error
        await this.#checkDirectory(path)
      }
    }
  }

  async #checkParents(components: readonly string[]): Promise<void> {
    let path = this.path
    for (let depth = 0; depth < components.length - 1; depth++) {
      path = join(path, components[depth] ?? '')
      await this.#checkDirectory(path)
    }
  }

  async #lookAtDirectory(path: string): Promise<IsthmusError | boolean> {
    try {
      await this.#checkDirectory(path)
      return true
    } catch (error) {
      if (error instanceof IsthmusError) return error
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return false
      throw error
    }
  }

  async #checkDirectory(path: string): Promise<void> {
    const found = await lstatOf(path)
    if (found.isSymbolicLink()) throw this.#unsafe(path, 'is a symbolic link')
    if (!found.isDirectory()) throw this.#unsafe(path, 'is no directory')
  }

  #unsafe(path: string, problem: string, cause?: unknown): IsthmusError {
    const name = relative(this.path, path)
    return new IsthmusError('ISTHMUS_PATH_UNSAFE', `${name} ${problem}`, { cause })
  }
}

/** Whether `error` came from the system with one of these codes. */
export function isErrno(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? '')
}
