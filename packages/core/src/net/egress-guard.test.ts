import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { propertyOptions } from '../../../../test/support/property.ts'
import { AddressPolicy } from './address-policy.ts'
import { EgressGuard } from './egress-guard.ts'

const denied = expect.objectContaining({
  code: 'ISTHMUS_EGRESS_DENIED',
  message: 'the address cannot be resolved or connecting to it is not allowed',
})

function guardWith(answers: Record<string, readonly string[]>, allow: readonly string[] = []) {
  const asked: string[] = []
  const lookup = async (hostname: string) => {
    asked.push(hostname)
    const answer = answers[hostname]
    if (answer === undefined) throw new Error('no such name')
    return answer
  }
  return { guard: new EgressGuard({ lookup, policy: new AddressPolicy({ allow }) }), asked }
}

describe('the egress guard', () => {
  test('answers the address to connect to', async () => {
    const { guard } = guardWith({ 'example.org': ['2606:4700::1111', '1.1.1.1'] })
    const url = new URL('https://example.org/a')
    expect(await guard.resolve(url)).toEqual({
      url,
      address: '1.1.1.1',
      family: 4,
      port: 443,
      addresses: ['1.1.1.1', '2606:4700::1111'],
    })
  })

  test('takes the port of the URL', async () => {
    const { guard } = guardWith({})
    const target = await guard.resolve(new URL('http://[2606:4700::1111]:8080/'))
    expect(target).toMatchObject({ address: '2606:4700::1111', family: 6, port: 8080 })
  })

  test.each([
    'http://127.0.0.1/',
    'http://127.1/',
    'http://0x7f.1/',
    'http://2130706433/',
    'http://127.0.0.1./',
    'http://１２７.0.0.1/',
    'http://0/',
    'http://169.254.169.254/latest/meta-data/',
    'http://[::1]/',
    'http://[::ffff:127.0.0.1]/',
    'http://[::127.0.0.1]/',
    'http://[64:ff9b::7f00:1]/',
    'http://[2002:7f00:1::]/',
    'http://user:secret@10.0.0.1/',
    'udp://127.0.0.1:80/',
    'udp://127.1:80/',
    'udp://2130706433:80/',
    'udp://[::1]:80/',
    'udp://%31%32%37.0.0.1:80/',
  ])('denies %s without asking for a name', async (text) => {
    const { guard, asked } = guardWith({})
    const schemes = ['http', 'udp']
    await expect(guard.resolve(new URL(text), { schemes })).rejects.toEqual(denied)
    expect(asked).toEqual([])
  })

  test.each([
    'ftp://1.1.1.1/',
    'file:///etc/passwd',
    'data:,x',
    'udp://1.1.1.1:80/',
    'javascript:0',
    'https://1.1.1.1:0/',
  ])('denies %s by its scheme or port', async (text) => {
    const { guard } = guardWith({})
    await expect(guard.resolve(new URL(text))).rejects.toEqual(denied)
  })

  test('denies a tracker without a port', async () => {
    const { guard } = guardWith({})
    const url = new URL('udp://1.1.1.1/announce')
    await expect(guard.resolve(url, { schemes: ['udp'] })).rejects.toEqual(denied)
  })

  test('denies a name with one private address among public ones', async () => {
    const { guard } = guardWith({ 'mixed.example': ['1.1.1.1', '10.0.0.1', '1.0.0.1'] })
    await expect(guard.resolve(new URL('http://mixed.example/'))).rejects.toEqual(denied)
  })

  test.each([[[]], [['no address']], [['1.1.1.1', 'fe80::1%lo']]])(
    'denies a name that resolves to %j',
    async (answer) => {
      const { guard } = guardWith({ 'odd.example': answer })
      await expect(guard.resolve(new URL('http://odd.example/'))).rejects.toEqual(denied)
    },
  )

  test('tells a name that does not resolve by nothing but the cause', async () => {
    const { guard } = guardWith({})
    await expect(guard.resolve(new URL('http://unknown.example/'))).rejects.toEqual(denied)
  })

  test('asks for a name once, so that a changed answer changes nothing', async () => {
    const answers: Record<string, readonly string[]> = { 'rebind.example': ['1.1.1.1'] }
    const { guard, asked } = guardWith(answers)
    const target = guard.resolve(new URL('http://rebind.example/'))
    answers['rebind.example'] = ['127.0.0.1']
    expect((await target).address).toBe('1.1.1.1')
    expect(asked).toEqual(['rebind.example'])
  })

  test('admits what was allowed', async () => {
    const { guard } = guardWith({ 'inner.example': ['10.0.0.1'] }, ['10.0.0.0/8'])
    const target = await guard.resolve(new URL('http://inner.example/'))
    expect(target.address).toBe('10.0.0.1')
  })

  test('never goes from a public address to a private one, allowed or not', async () => {
    const names = { 'outer.example': ['1.1.1.1'], 'inner.example': ['10.0.0.1'] }
    const { guard } = guardWith(names, ['10.0.0.0/8'])
    const [outer, inner] = ['http://outer.example/', 'http://inner.example/'].map((u) => new URL(u))
    if (outer === undefined || inner === undefined) throw new Error('unreachable')
    const fromOuter = { redirectedFrom: await guard.resolve(outer) }
    const fromInner = { redirectedFrom: await guard.resolve(inner) }
    await expect(guard.resolve(inner, fromOuter)).rejects.toEqual(denied)
    expect((await guard.resolve(outer, fromOuter)).address).toBe('1.1.1.1')
    expect((await guard.resolve(inner, fromInner)).address).toBe('10.0.0.1')
    expect((await guard.resolve(outer, fromInner)).address).toBe('1.1.1.1')
  })

  test('stops waiting for a name when the signal aborts', async () => {
    const guard = new EgressGuard({ lookup: () => new Promise(() => {}) })
    const controller = new AbortController()
    const waiting = guard.resolve(new URL('http://slow.example/'), { signal: controller.signal })
    controller.abort('enough')
    await expect(waiting).rejects.toBe('enough')
  })

  test('refuses everything once closed', async () => {
    const { guard } = guardWith({})
    await guard.close()
    await guard.close()
    const closed = expect.objectContaining({ code: 'ISTHMUS_CLIENT_CLOSED' })
    await expect(guard.resolve(new URL('http://1.1.1.1/'))).rejects.toEqual(closed)
    expect(() => guard.agent('http:')).toThrow(closed)
  })

  test('judges peers as it judges every address', () => {
    const { guard } = guardWith({}, ['10.0.0.1'])
    expect(guard.allowsPeer({ host: '1.1.1.1', port: 6881 })).toBe(true)
    expect(guard.allowsPeer({ host: '10.0.0.1', port: 6881 })).toBe(true)
    expect(guard.allowsPeer({ host: '127.0.0.1', port: 6881 })).toBe(false)
  })

  test('judges an address in whatever spelling', { timeout: 120_000 }, async () => {
    const policy = new AddressPolicy()
    const guard = new EgressGuard({ lookup: async () => [] })
    const first = fc.oneof(fc.constantFrom(0, 10, 100, 127, 169, 172, 192, 198, 224), fc.nat(255))
    const address = fc.tuple(first, fc.nat(255), fc.nat(255), fc.nat(255))
    const radix = fc.constantFrom<(value: number) => string>(
      (value) => `${value}`,
      (value) => `0x${value.toString(16)}`,
      (value) => `0${value.toString(8)}`,
    )
    const parts = fc.constantFrom(1, 2, 3, 4)
    await fc.assert(
      fc.asyncProperty(address, radix, parts, fc.boolean(), async (bytes, spell, count, mapped) => {
        const [a, b, c, d] = bytes
        const leading = [a, b, c].slice(0, count - 1)
        const rest = (a * 2 ** 24 + b * 2 ** 16 + c * 2 ** 8 + d) % 2 ** (8 * (5 - count))
        const host = mapped
          ? `[::ffff:${bytes.join('.')}]`
          : [...leading, rest].map(spell).join('.')
        const expected = policy.allows(bytes.join('.')) ? bytes.join('.') : undefined
        const target = await guard.resolve(new URL(`http://${host}/`)).catch(() => undefined)
        return target?.address === expected
      }),
      propertyOptions('spellings of addresses'),
    )
  })
})
