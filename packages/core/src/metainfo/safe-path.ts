import { IsthmusError } from '../errors.ts'
import { defaultLimits, type Limits } from '../limits.ts'

const MADE_HERE = Symbol('made by safePath')

/**
 * A name from a torrent that was checked, component by component: none is empty, `.`, `..` or holds
 * `/` or NUL. It is the true name, the one that the torrent and HTTP know: a backslash, a control
 * character or `CON` may stand in it. What goes to a disk is made by `diskPaths`. Only
 * {@link safePath} makes one.
 */
export class SafePath {
  /** Components hold no '/', so the joined text says all and costs one string. */
  readonly #text: string

  private constructor(madeHere: symbol, text: string) {
    if (madeHere !== MADE_HERE) throw new TypeError('a SafePath is made by safePath()')
    this.#text = text
  }

  get components(): readonly string[] {
    return this.#text.split('/')
  }

  /** The path one component deeper. @throws IsthmusError `ISTHMUS_PATH_UNSAFE` like {@link safePath}. */
  join(component: string | Uint8Array, limits: Limits = defaultLimits): SafePath {
    const name = safeComponent(component, limits)
    const depth = this.components.length + 1
    assertSize(depth, this.byteLength + 1 + Buffer.byteLength(name), limits)
    return new SafePath(MADE_HERE, `${this.#text}/${name}`)
  }

  /** UTF-8 bytes of the joined path. */
  get byteLength(): number {
    return Buffer.byteLength(this.#text)
  }

  /** The components joined by '/'. */
  toString(): string {
    return this.#text
  }

  toJSON(): string {
    return this.#text
  }

  /** @internal The one way in; called by {@link safePath}. */
  static from(components: readonly (string | Uint8Array)[], limits: Limits): SafePath {
    if (components.length === 0) throw unsafe('a path without a component')
    assertSize(components.length, 0, limits)
    const text = components.map((component) => safeComponent(component, limits)).join('/')
    assertSize(components.length, Buffer.byteLength(text), limits)
    return new SafePath(MADE_HERE, text)
  }
}

/**
 * Checks the components of a name, from whichever route it came. Bytes are read as UTF-8; what is
 * not, and every lone surrogate of a string, becomes U+FFFD, so that torrents with names in other
 * encodings stay usable. Two names may come out equal.
 *
 * @throws IsthmusError `ISTHMUS_PATH_UNSAFE` where a component is empty, `.` or `..`, holds `/` or NUL,
 * where there is none, or where one of the limits on paths is passed.
 */
export function safePath(
  components: readonly (string | Uint8Array)[],
  limits: Limits = defaultLimits,
): SafePath {
  return SafePath.from(components, limits)
}

// A byte order mark is part of a name, so it is not eaten.
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true })

function safeComponent(component: string | Uint8Array, limits: Limits): string {
  // Bytes are counted first: replacing bad UTF-8 makes it longer.
  if (component.length > limits.pathComponentBytes) throw unsafe('a component that is too long')
  const name = typeof component === 'string' ? wellFormed(component) : utf8.decode(component)
  if (name === '') throw unsafe('an empty component')
  if (name === '.' || name === '..') throw unsafe(`the component ${name}`)
  if (/[/\0]/.test(name)) throw unsafe('a component with a slash or NUL')
  if (typeof component === 'string' && Buffer.byteLength(name) > limits.pathComponentBytes) {
    throw unsafe('a component that is too long')
  }
  return name
}

function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, '\uFFFD')
}

function assertSize(components: number, bytes: number, limits: Limits): void {
  if (components > limits.pathComponents) throw unsafe('too many components')
  if (bytes > limits.pathBytes) throw unsafe('a path that is too long')
}

function unsafe(problem: string): IsthmusError {
  return new IsthmusError('ISTHMUS_PATH_UNSAFE', `the torrent names a file by ${problem}`)
}
