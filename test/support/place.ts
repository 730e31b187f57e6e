import { spawn, spawnSync } from 'node:child_process'
import { connect } from 'node:net'
import { Duplex } from 'node:stream'
import { Child } from './child.ts'

/** Where programs run and talk to each other: the loopback of this machine, or a network of their own. */
export interface Place {
  /** The address that peers listen on. */
  readonly host: string
  /** The command line that runs a program there. */
  wrap(
    command: string,
    args: readonly string[],
  ): readonly [command: string, args: readonly string[]]
  connect(host: string, port: number): Duplex
}

export const loopback: Place = {
  host: '127.0.0.1',
  wrap: (command, args) => [command, args],
  connect: (host, port) => connect(port, host),
}

const unshare = process.getuid?.() === 0 ? ['-n'] : ['-rn']
const enter = process.getuid?.() === 0 ? ['-n'] : ['-U', '--preserve-credentials', '-n']

export function namespacesWork(): boolean {
  return spawnSync('unshare', [...unshare, 'ip', 'link', 'set', 'lo', 'up']).status === 0
}

/**
 * A network namespace with nothing but a loopback interface, which also has an address outside of
 * 127/8 for programs that take no peers from there. It lasts as long as the process that holds it.
 */
export class Namespace implements Place {
  readonly host = '10.99.0.1'
  readonly #holder: Child

  private constructor(holder: Child) {
    this.#holder = holder
  }

  static async open(): Promise<Namespace> {
    const script =
      'ip link set lo up && ip address add 10.99.0.1/32 dev lo && echo READY && exec cat'
    return Child.start('unshare', [...unshare, 'sh', '-c', script], async (holder) => {
      await holder.line(/^READY$/)
      return new Namespace(holder)
    })
  }

  wrap(command: string, args: readonly string[]): readonly [string, readonly string[]] {
    return ['nsenter', ['-t', `${this.#holder.pid}`, ...enter, command, ...args]]
  }

  connect(host: string, port: number): Duplex {
    const relay = `const s = require('net').connect(${port}, ${JSON.stringify(host)})
process.stdin.pipe(s).pipe(process.stdout); s.on('error', () => process.exit(1))`
    const [command, args] = this.wrap(process.execPath, ['-e', relay])
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'ignore'] })
    const duplex = Duplex.from({ readable: child.stdout, writable: child.stdin })
    return duplex.on('close', () => child.kill())
  }

  async stop(): Promise<void> {
    await this.#holder.stop()
  }
}
