import { diskName, MAX_NAME_BYTES, splitExtension, truncateUtf8 } from './disk-name.ts'
import type { SafePath } from './safe-path.ts'

/**
 * Names to keep files under, one list of components for each path, in order. They work on Linux, macOS
 * and Windows; no two are equal, even where case or Unicode form does not count, and none is a
 * directory of another. The same paths always get the same names; a longer list that starts with the
 * same paths starts with the same names.
 *
 * A name that is fine stays as it is, in Unicode form NFC. Otherwise control characters, `\`, `:` and
 * the like become `_`, invisible characters go, dots and spaces at the end go, a device name of
 * Windows gets a `_` in front, and what is over 255 bytes is cut. Where that makes two names
 * equal, the later one gets a number: `film (1).mkv`.
 */
export function diskPaths(paths: readonly SafePath[]): readonly (readonly string[])[] {
  const tree = new DiskTree()
  return paths.map((path) => {
    const names: string[] = []
    const components = path.components
    let directory = ROOT
    for (const component of components.slice(0, -1)) {
      directory = tree.enter(directory, component)
      names.push(directory.name)
    }
    names.push(tree.addName(directory, components.at(-1) ?? ''))
    return names
  })
}

interface Directory {
  readonly id: number
  readonly name: string
  /** Bytes of the path down to here. */
  readonly pathBytes: number
}

const ROOT: Directory = { id: 0, name: '', pathBytes: 0 }
/** Past this many bytes a path gets short names, so that 100 of them stay below 4,096 (PATH_MAX). */
const LONG_PATH_BYTES = 1024
const MAX_NAME_BYTES_IN_LONG_PATH = 24
/** Room for ` (999999999)`. */
const NUMBER_BYTES = 12

/** Flat maps for the whole tree: a torrent can spell a million directories. No name holds a '/'. */
class DiskTree {
  readonly #directories = new Map<string, Directory>()
  /** Names in use: files and directories share them. */
  readonly #taken = new Set<string>()
  /** The number to try next for names of one form. It only grows, which keeps many equal names linear. */
  readonly #numbers = new Map<string, number>()

  /** The directory of this true name: every time the same one. */
  enter(parent: Directory, component: string): Directory {
    const key = `${parent.id}/${component}`
    const known = this.#directories.get(key)
    if (known !== undefined) return known
    const name = this.addName(parent, component)
    const directory = {
      id: this.#directories.size + 1,
      name,
      pathBytes: parent.pathBytes + Buffer.byteLength(name) + 1,
    }
    this.#directories.set(key, directory)
    return directory
  }

  /** A name that nothing else in the directory has. */
  addName(parent: Directory, component: string): string {
    const isLong = parent.pathBytes > LONG_PATH_BYTES
    const maxBytes = isLong ? MAX_NAME_BYTES_IN_LONG_PATH : MAX_NAME_BYTES
    const name = diskName(component, maxBytes)
    if (this.#take(parent, name)) return name
    const [stem, extension] = splitExtension(name)
    // Cut by the same length whatever the number, so that names of one form share one count.
    const start = truncateUtf8(stem, maxBytes - NUMBER_BYTES - extension.length)
    const form = `${parent.id}/${fold(start)}/${fold(extension)}`
    for (let number = this.#numbers.get(form) ?? 1; ; number++) {
      const numbered = `${start} (${number})${extension}`
      if (!this.#take(parent, numbered)) continue
      this.#numbers.set(form, number + 1)
      return numbered
    }
  }

  #take(parent: Directory, name: string): boolean {
    const key = `${parent.id}/${fold(name)}`
    if (this.#taken.has(key)) return false
    this.#taken.add(key)
    return true
  }
}

/** Equal for names that some file system takes for equal. More than needed does no harm. */
function fold(name: string): string {
  return name.normalize('NFC').toLowerCase().toUpperCase().normalize('NFC')
}
