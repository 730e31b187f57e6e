import { expect, test } from 'vitest'
import { contentDisposition } from './content-disposition.ts'

test.each([
  ['a b.txt', 'attachment; filename="a b.txt"'],
  ['a"b.txt', `attachment; filename="a_b.txt"; filename*=UTF-8''a%22b.txt`],
  ['映画.mp4', `attachment; filename="_.mp4"; filename*=UTF-8''%E6%98%A0%E7%94%BB.mp4`],
  [`it's (1)*`, `attachment; filename="it's (1)*"`],
  ['é;%41', `attachment; filename="e__41"; filename*=UTF-8''%C3%A9%3B%2541`],
  [
    'a\r\nSet-Cookie: x',
    `attachment; filename="a_Set-Cookie: x"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20x`,
  ],
  ['\ud800', `attachment; filename="_"; filename*=UTF-8''%EF%BF%BD`],
])('%j is named without breaking the header', (name, value) => {
  const made = contentDisposition('attachment', name)
  expect(made).toBe(value)
  expect(new Headers({ 'content-disposition': made }).get('content-disposition')).toBe(made)
})
