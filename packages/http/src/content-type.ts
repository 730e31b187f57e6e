/** Types by extension; never by looking at the bytes. */
const types: ReadonlyMap<string, string> = new Map(
  Object.entries({
    // video
    mp4: 'video/mp4',
    m4v: 'video/mp4',
    mkv: 'video/x-matroska',
    mk3d: 'video/x-matroska',
    webm: 'video/webm',
    avi: 'video/x-msvideo',
    mov: 'video/quicktime',
    qt: 'video/quicktime',
    wmv: 'video/x-ms-wmv',
    flv: 'video/x-flv',
    mpg: 'video/mpeg',
    mpeg: 'video/mpeg',
    m2v: 'video/mpeg',
    ts: 'video/mp2t',
    m2ts: 'video/mp2t',
    mts: 'video/mp2t',
    ogv: 'video/ogg',
    '3gp': 'video/3gpp',
    // audio
    mp3: 'audio/mpeg',
    m4a: 'audio/mp4',
    m4b: 'audio/mp4',
    aac: 'audio/aac',
    flac: 'audio/flac',
    ogg: 'audio/ogg',
    oga: 'audio/ogg',
    opus: 'audio/ogg',
    wav: 'audio/wav',
    weba: 'audio/webm',
    wma: 'audio/x-ms-wma',
    aif: 'audio/aiff',
    aiff: 'audio/aiff',
    mka: 'audio/x-matroska',
    ac3: 'audio/ac3',
    mid: 'audio/midi',
    // image
    jpg: 'image/jpeg',
    jpeg: 'image/jpeg',
    png: 'image/png',
    gif: 'image/gif',
    webp: 'image/webp',
    avif: 'image/avif',
    heic: 'image/heic',
    bmp: 'image/bmp',
    tif: 'image/tiff',
    tiff: 'image/tiff',
    ico: 'image/x-icon',
    svg: 'image/svg+xml',
    // subtitles and playlists
    vtt: 'text/vtt; charset=utf-8',
    srt: 'application/x-subrip; charset=utf-8',
    ass: 'text/x-ssa; charset=utf-8',
    ssa: 'text/x-ssa; charset=utf-8',
    m3u: 'audio/x-mpegurl; charset=utf-8',
    m3u8: 'application/vnd.apple.mpegurl',
    mpd: 'application/dash+xml',
    // text
    txt: 'text/plain; charset=utf-8',
    nfo: 'text/plain; charset=utf-8',
    log: 'text/plain; charset=utf-8',
    md: 'text/markdown; charset=utf-8',
    csv: 'text/csv; charset=utf-8',
    html: 'text/html; charset=utf-8',
    htm: 'text/html; charset=utf-8',
    xhtml: 'application/xhtml+xml',
    xml: 'application/xml',
    css: 'text/css; charset=utf-8',
    js: 'text/javascript; charset=utf-8',
    mjs: 'text/javascript; charset=utf-8',
    json: 'application/json',
    // documents
    pdf: 'application/pdf',
    epub: 'application/epub+zip',
    mobi: 'application/x-mobipocket-ebook',
    djvu: 'image/vnd.djvu',
    cbz: 'application/vnd.comicbook+zip',
    cbr: 'application/vnd.comicbook-rar',
    // archives and images of disks
    zip: 'application/zip',
    rar: 'application/vnd.rar',
    '7z': 'application/x-7z-compressed',
    tar: 'application/x-tar',
    gz: 'application/gzip',
    tgz: 'application/gzip',
    bz2: 'application/x-bzip2',
    xz: 'application/x-xz',
    zst: 'application/zstd',
    iso: 'application/x-iso9660-image',
    deb: 'application/vnd.debian.binary-package',
    apk: 'application/vnd.android.package-archive',
    wasm: 'application/wasm',
    torrent: 'application/x-bittorrent',
  }),
)

/** Extensions of what a browser would run in the name of this server. */
const active: ReadonlySet<string> = new Set([
  ...['htm', 'html', 'shtml', 'xht', 'xhtml', 'mht', 'mhtml', 'hta', 'swf'],
  ...['svg', 'svgz', 'xml', 'xsl', 'xslt', 'rss', 'atom', 'rdf', 'mathml'],
])

/** The media type that a file's name stands for. */
export function contentTypeOf(name: string): string {
  return types.get(extensionOf(name)) ?? 'application/octet-stream'
}

/** Whether a browser that opened a file of this name would run what is in it. */
export function isActiveContent(name: string): boolean {
  return active.has(extensionOf(name))
}

function extensionOf(name: string): string {
  return name.slice(name.lastIndexOf('.') + 1).toLowerCase()
}
