/** ext4, APFS and NTFS each take 255 of their units; UTF-8 bytes are the strictest of those units. */
export const MAX_NAME_BYTES = 255

// Separators and what Windows refuses; C0, DEL and C1 control characters.
const FORBIDDEN = /[\\/:*?"<>|\0-\x1f\x7f-\x9f]/g
// Format characters (bidi among them), line separators, and what no font shows.
const INVISIBLE = /[\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu
// Windows: devices, whatever their extension; it takes superscript digits for digits.
const DEVICE = /^(?:con|prn|aux|nul|conin\$|conout\$|clock\$|(?:com|lpt)[0-9¹²³]) *(?:\.|$)/i

/**
 * One component of a true name, made into a name that Linux, macOS and Windows take as it is, of at
 * most `maxBytes` UTF-8 bytes. Names that differ may come out equal.
 */
export function diskName(component: string, maxBytes = MAX_NAME_BYTES): string {
  const visible = component.normalize('NFC').replace(INVISIBLE, '').normalize('NFC')
  const name = trimEnd(visible.replace(FORBIDDEN, '_'))
  return shorten(DEVICE.test(name) ? `_${name}` : name, maxBytes) || '_'
}

/** A short extension stays at the end of a name that is cut or numbered: players go by it. */
export function splitExtension(name: string): readonly [stem: string, extension: string] {
  const extension = /.(\.[a-z0-9]{1,10})$/is.exec(name)?.[1] ?? ''
  return [name.slice(0, name.length - extension.length), extension]
}

/** At most `maxBytes` of UTF-8, cut between characters. */
export function truncateUtf8(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text, 'utf8')
  if (bytes.length <= maxBytes) return text
  let end = maxBytes
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--
  return bytes.toString('utf8', 0, end)
}

function shorten(name: string, maxBytes: number): string {
  if (Buffer.byteLength(name) <= maxBytes) return name
  const [stem, extension] = splitExtension(name)
  return trimEnd(truncateUtf8(stem, maxBytes - extension.length) + extension)
}

/** Windows drops dots and spaces at the end, so that two names would become one. */
function trimEnd(name: string): string {
  return name.replace(/[. ]+$/, '')
}
