const units = ['bytes', 'kB', 'MB', 'GB', 'TB']

/** `1234567` as `1.2 MB`. */
export function formatBytes(bytes: number): string {
  const power = bytes < 1000 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), units.length - 1)
  const value = bytes / 1000 ** power
  return `${power === 0 ? Math.round(value) : value.toFixed(1)} ${units[power]}`
}

/** A share of 1 as a whole percentage; 100 only for all of it. */
export function formatShare(share: number): string {
  return `${Math.floor(share * 100)} %`
}

/** The URL of one file of a torrent. */
export function fileUrl(base: string, infoHash: string, path: string): string {
  const escaped = path.split('/').map((component) => encodeURIComponent(component))
  // The only character that is left as it is and means something between quotes in a shell.
  return `${base}/${infoHash}/${escaped.join('/').replaceAll("'", '%27')}`
}
