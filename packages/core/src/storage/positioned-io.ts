import { read, write } from 'node:fs'

// The callback functions on a descriptor: per call they cost less than a FileHandle's promises.

/**
 * Fills `bytes` from `position` of a file on.
 *
 * @returns how many bytes there were; fewer than asked for only at the end of the file.
 */
export function readFully(fd: number, bytes: Uint8Array, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    let done = 0
    const next = () => {
      read(fd, bytes, done, bytes.length - done, position + done, (error, count) => {
        if (error !== null) return reject(error)
        done += count
        if (count === 0 || done === bytes.length) resolve(done)
        else next()
      })
    }
    next()
  })
}

/** Writes all of `bytes` at `position` of a file, a short write continued. */
export function writeFully(fd: number, bytes: Uint8Array, position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let done = 0
    const next = () => {
      write(fd, bytes, done, bytes.length - done, position + done, (error, count) => {
        if (error !== null) return reject(error)
        done += count
        if (done === bytes.length) resolve()
        else next()
      })
    }
    next()
  })
}
