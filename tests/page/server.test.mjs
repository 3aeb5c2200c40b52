import assert from 'node:assert/strict'
import { mock, test } from 'node:test'

import { MISSING, OFFLINE, routesOf } from '../../web/wfrecovery/data/server.mjs'
import { record } from './support.mjs'

function routesAnswering(respond) {
  const requests = []
  const api = {
    apiURL: (path) => `/base/api${path}`,
    fetchApi: async (path, options) => {
      requests.push([path, options])
      return respond(path)
    },
  }
  return { routes: routesOf(api), requests }
}

const json = (body, code = 200) => new Response(JSON.stringify(body), { status: code })

test('a request carries only what is asked for, and whatever it is, it stays one parameter', async () => {
  const { routes, requests } = routesAnswering(() => json({ tasks: [], total: 0 }))
  await routes.tasks({ status: '失败', q: '50% & more', workflow_type: '', stage: undefined, offset: 0 })
  const query = new URLSearchParams(requests[0][0].split('?')[1])
  assert.deepEqual(Object.fromEntries(query), { status: '失败', q: '50% & more', offset: '0' })
})

test('an id cannot leave its place in the path', async () => {
  const { routes, requests } = routesAnswering(() => json({}))
  await routes.act('../../prompt?x=', 'retry')
  assert.equal(requests[0][0], '/wfrecovery/tasks/..%2F..%2Fprompt%3Fx%3D/retry?lang=en')
})

test('writes are JSON with a body', async () => {
  const { routes, requests } = routesAnswering(() => json({}, 202))
  await routes.recover()
  assert.equal(requests[0][1].headers['Content-Type'], 'application/json')
  assert.equal(requests[0][1].body, '{}')
})

test("the server's words come through", async () => {
  const { routes } = routesAnswering(() => json({ error: { type: 'not_possible', message: 'it runs' } }, 409))
  await assert.rejects(routes.act('img_20261123_001', 'retry'), { kind: 'not_possible', message: 'it runs', status: 409 })
})

test('a missing server side, an unreachable ComfyUI and a proxy that answers for it are told apart', async () => {
  const gone = () => {
    throw new TypeError('Failed to fetch')
  }
  for (const [respond, kind] of [
    [() => new Response('404: Not Found', { status: 404 }), MISSING],
    [() => new Response('<html>Bad Gateway</html>', { status: 502 }), OFFLINE],
    [gone, OFFLINE],
  ]) {
    await assert.rejects(routesAnswering(respond).routes.status(), { kind })
  }
})

test("a file is asked for as this task's, whatever it is called", () => {
  const { routes } = routesAnswering(() => json({}))
  const place = '/base/api/wfrecovery/tasks/img_20261123_001/file'
  assert.equal(routes.fileUrl(record(1), 'a b&c.png'), `${place}?path=a+b%26c.png`)
  assert.equal(routes.fileUrl(record(1), 'img/2026/产品.png'), `${place}?path=img%2F2026%2F${encodeURIComponent('产品')}.png`)
})

test('what became of a picture is told apart from other trouble', async () => {
  const error = (type) => ({ error: { type, message: 'why' } })
  for (const [respond, expected] of [
    [() => json(error('result_replaced'), 410), 'replaced'],
    [() => json(error('result_missing'), 410), 'missing'],
    [() => json(error('no_thumbnail'), 404), null],
    [() => new Response('<html>Bad Gateway</html>', { status: 502 }), null],
    [() => new Response('a picture after all'), null],
  ]) {
    assert.equal(await routesAnswering(respond).routes.goneThumbnail(record(1)), expected)
  }
})

test('what others wait for counts as not answered when it hangs', async () => {
  const patience = mock.method(AbortSignal, 'timeout', () => AbortSignal.abort(new DOMException('it took too long', 'TimeoutError')))
  const hanging = (path, { signal }) => new Promise((_, reject) => signal?.aborted && reject(signal.reason))
  const routes = routesOf({ fetchApi: hanging })
  for (const ask of [routes.status, routes.settings, () => routes.saveSettings({ keep_days: 3 })]) {
    await assert.rejects(ask(), { kind: OFFLINE })
  }
  patience.mock.restore()
})
