import { IsthmusError } from '../errors.ts'
import type { Limits } from '../limits.ts'
import type { BencodeDict } from './bencode.ts'
import {
  invalidField,
  optionalText,
  requireBytes,
  requireDict,
  requireLength,
} from './dict-fields.ts'
import { type FileEntry, readFileList } from './file-list.ts'
import { isSingleFileTree, readFileTree } from './file-tree.ts'
import { type InfoFields, validateInfo } from './info-validation.ts'
import type { Layout } from './layout.ts'
import { safePath } from './safe-path.ts'

/** An info dictionary, read and checked. Byte strings are still views of the input. */
export interface Info extends InfoFields {
  readonly name: string
  readonly multiFile: boolean
  readonly private: boolean
  readonly layout: Layout
  /** The listed files are the same, and in the same order, in both views of a hybrid. */
  readonly entries: readonly FileEntry[]
}

/** The one way in for every info dictionary: from a .torrent and from peers (BEP 9). */
export function readInfo(dict: BencodeDict, limits: Limits): Info {
  const hasV2 = usesV2(dict)
  // BEP 52: a hybrid has the fields of both.
  const hasV1 = !hasV2 || dict.has('pieces')
  const name = nameOf(dict)
  const root = safePath([name], limits)
  const pieceLength = requireLength(dict.get('piece length'), 'info.piece length')
  const v1 = hasV1 ? readV1(dict, name, limits) : undefined
  const tree = hasV2 ? requireDict(dict.get('file tree'), 'info.file tree') : undefined
  const multiFile =
    v1 === undefined && tree !== undefined ? !isSingleFileTree(tree) : dict.has('files')
  const v2 =
    tree === undefined
      ? undefined
      : { entries: readFileTree(tree, multiFile ? root : undefined, limits) }
  const layout = validateInfo({ pieceLength, v1, v2 }, limits)
  const entries = (v2 ?? v1)?.entries ?? []
  const isPrivate = dict.get('private') === 1
  return {
    name: root.toString(),
    multiFile,
    private: isPrivate,
    pieceLength,
    v1,
    v2,
    layout,
    entries,
  }
}

function usesV2(dict: BencodeDict): boolean {
  const version = dict.get('meta version')
  if (version === undefined) return false
  // BEP 52: looked at first, so that newer torrents are not called invalid.
  if (version === 2) return true
  if (version === 1) throw invalidField('info.meta version', 'is 1, which was never assigned')
  throw new IsthmusError(
    'ISTHMUS_METAINFO_UNSUPPORTED',
    'info.meta version is of a newer kind of torrent',
  )
}

/** The bytes, so that the limit on names means the same bytes everywhere. */
function nameOf(dict: BencodeDict): Uint8Array {
  const utf8 = dict.get('name.utf-8')
  if (utf8 instanceof Uint8Array && utf8.length > 0 && optionalText(utf8) !== undefined) return utf8
  return requireBytes(dict.get('name'), 'info.name')
}

function readV1(
  dict: BencodeDict,
  name: Uint8Array,
  limits: Limits,
): NonNullable<InfoFields['v1']> {
  const pieces = requireBytes(dict.get('pieces'), 'info.pieces')
  if (dict.has('files') === dict.has('length')) {
    throw invalidField('info', 'does not have one of files and length')
  }
  if (dict.has('files')) return { entries: readFileList(name, dict, limits), pieces }
  const length = requireLength(dict.get('length'), 'info.length')
  return { entries: [{ padding: false, path: safePath([name], limits), length }], pieces }
}
