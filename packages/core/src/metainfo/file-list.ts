import type { Limits } from '../limits.ts'
import type { BencodeDict, BencodeValue } from './bencode.ts'
import {
  invalidField,
  optionalText,
  requireBytes,
  requireDict,
  requireLength,
  requireList,
} from './dict-fields.ts'
import { assertFileCount, PathBudget } from './info-validation.ts'
import { type SafePath, safePath } from './safe-path.ts'

/** One entry of an info dictionary that takes up a place in the torrent. */
export type FileEntry =
  | {
      readonly padding: false
      readonly path: SafePath
      readonly length: number
      /** 32 bytes, of a v2 file that is not empty. */
      readonly piecesRoot?: Uint8Array | undefined
    }
  | { readonly padding: true; readonly length: number }

/**
 * Reads the `files` of a v1 info dictionary (BEP 3); paths start with the name of the torrent.
 *
 * BEP 47: an entry with the attribute `p` is padding, whatever its name (and a `.pad/7` without it is
 * a file). An entry with the attribute `l` is a symlink: it has no bytes, and is left out, so that no
 * link is ever made and no empty file stands in for what it points to.
 */
export function readFileList(name: Uint8Array, info: BencodeDict, limits: Limits): FileEntry[] {
  const list = requireList(info.get('files'), 'info.files')
  assertFileCount(list.length, limits)
  const budget = new PathBudget(limits)
  const entries: FileEntry[] = []
  for (const [index, value] of list.entries()) {
    const field = `info.files[${index}]`
    const dict = requireDict(value, field)
    if (isSymlink(dict, field)) continue
    const length = requireLength(dict.get('length'), `${field}.length`)
    if (hasAttribute(dict, 'p')) {
      entries.push({ padding: true, length })
    } else {
      const components = [name, ...pathOf(dict, field)]
      const path = budget.spend(safePath(components, limits), components.length)
      entries.push({ padding: false, path, length })
    }
  }
  return entries
}

/** @throws IsthmusError `ISTHMUS_METAINFO_INVALID` for a symlink that claims to have bytes. */
export function isSymlink(dict: BencodeDict, field: string): boolean {
  if (!hasAttribute(dict, 'l')) return false
  const length = dict.get('length') ?? 0
  if (length !== 0) throw invalidField(`${field}.length`, 'of a symlink is not 0')
  return true
}

function hasAttribute(dict: BencodeDict, attribute: string): boolean {
  const attributes = dict.get('attr')
  return attributes instanceof Uint8Array && attributes.includes(attribute.charCodeAt(0))
}

function pathOf(dict: BencodeDict, field: string): readonly Uint8Array[] {
  const utf8 = dict.get('path.utf-8')
  if (isTextList(utf8)) return utf8
  const path = requireList(dict.get('path'), `${field}.path`)
  if (path.length === 0) throw invalidField(`${field}.path`, 'is empty')
  return path.map((component) => requireBytes(component, `${field}.path`))
}

function isTextList(value: BencodeValue | undefined): value is Uint8Array[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((component) => optionalText(component) !== undefined)
  )
}
