import { request } from './request.ts'

/** Tells a tracker of a peer that does not announce itself. */
export async function announceFor(
  trackerUrl: string,
  infoHash: string,
  address: string,
): Promise<void> {
  const port = address.slice(address.lastIndexOf(':') + 1)
  const hash = infoHash.replace(/../g, '%$&')
  const query = `info_hash=${hash}&peer_id=-XX0000-bare%20peer%20%20%20&port=${port}&left=0&event=started`
  const { status } = await request(`${trackerUrl}?${query}`)
  if (status !== 200) throw new Error(`the tracker answered ${status}`)
}
