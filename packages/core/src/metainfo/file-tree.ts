import type { Limits } from '../limits.ts'
import type { BencodeDict } from './bencode.ts'
import { invalidField, requireBytes, requireDict, requireLength } from './dict-fields.ts'
import { type FileEntry, isSymlink } from './file-list.ts'
import { assertFileCount, PathBudget } from './info-validation.ts'
import { type SafePath, safePath } from './safe-path.ts'

const FIELD = 'info.file tree'

/** Whether the tree is one file and nothing else (BEP 52: a single-file torrent). */
export function isSingleFileTree(tree: BencodeDict): boolean {
  const [only, ...others] = tree.values()
  return only !== undefined && others.length === 0 && requireDict(only, FIELD).has('')
}

/**
 * Reads the `file tree` of a v2 info dictionary (BEP 52) in the order that it is written in. Paths
 * start with `root`, where one is given. Symlinks are left out, as in a v1 list.
 */
export function readFileTree(
  tree: BencodeDict,
  root: SafePath | undefined,
  limits: Limits,
): FileEntry[] {
  const budget = new PathBudget(limits)
  const entries: FileEntry[] = []

  // Bencode's own limit on depth bounds the recursion.
  const walk = (directory: BencodeDict, parent: SafePath | undefined): void => {
    for (const [key, value] of directory) {
      if (key === '') throw invalidField(FIELD, 'has a file among the entries of a directory')
      const node = requireDict(value, FIELD)
      const name = Buffer.from(key, 'latin1')
      // A directory's path is spent too: its text is kept for as long as its files' are.
      const path = budget.spend(parent?.join(name, limits) ?? safePath([name], limits), 1)
      if (!node.has('')) {
        walk(node, path)
        continue
      }
      if (node.size > 1) throw invalidField(FIELD, 'has a file with entries of its own')
      const properties = requireDict(node.get(''), FIELD)
      if (isSymlink(properties, FIELD)) continue
      entries.push(readFile(properties, path))
      assertFileCount(entries.length, limits)
    }
  }
  walk(tree, root)
  return entries
}

function readFile(properties: BencodeDict, path: SafePath): FileEntry {
  const length = requireLength(properties.get('length'), `${FIELD}.length`)
  if (length === 0) return { padding: false, path, length }
  const piecesRoot = requireBytes(properties.get('pieces root'), `${FIELD}.pieces root`)
  return { padding: false, path, length, piecesRoot }
}
