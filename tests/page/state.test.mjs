import assert from 'node:assert/strict'
import { mock, test } from 'node:test'

import { MISSING, OFFLINE, ServerError } from '../../web/wfrecovery/data/server.mjs'
import { State } from '../../web/wfrecovery/data/state.mjs'
import { record, settled, status } from './support.mjs'

function stateWith(answers) {
  const state = new State({
    status: async () => {
      const answer = answers.length > 1 ? answers.shift() : answers[0]
      if (answer instanceof Error) throw answer
      return answer
    },
  })
  state.seen = []
  state.on('connection', ({ connection }) => state.seen.push(connection))
  return state
}

const offline = () => new ServerError(OFFLINE, 'no answer')

test('when ComfyUI goes away it is asked again until it is back', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  const state = stateWith([status(), offline(), offline(), status({ boot_id: 'boot 2' })])
  const restarts = []
  state.on('status', ({ restarted }) => restarts.push(Boolean(restarted)))
  await state.load()
  await state.load()
  for (let turn = 0; turn < 2; turn++) {
    mock.timers.tick(2000)
    await settled()
  }
  mock.timers.reset()
  assert.deepEqual(state.seen, ['online', 'offline', 'online'])
  assert.deepEqual(restarts, [false, true])
})

test('a server side that is missing or older is told apart', async () => {
  const missing = stateWith([new ServerError(MISSING, '404')])
  await missing.load()
  assert.equal(missing.connection, 'missing')

  const { attention, ...older } = status()
  const old = stateWith([older])
  await old.load()
  assert.equal(attention, 0)
  assert.equal(old.connection, 'older')
})

test("ComfyUI's events arrive, and progress ends with its task", async () => {
  const api = new EventTarget()
  const state = stateWith([status()])
  state.listenTo(api)
  const send = (kind, detail) => api.dispatchEvent(new CustomEvent(kind, { detail }))
  const tasks = []
  state.on('tasks', (records) => tasks.push(...records))

  send('wfrecovery.status', status({ attention: 4 }))
  assert.equal(state.status.attention, 4)
  const running = record(1, { stage: 'running' })
  send('wfrecovery.task', { tasks: [running] })
  send('wfrecovery.progress', { task_id: running.task_id, value: 3, max: 20, node: 'KSampler' })
  assert.equal(state.progress.get(running.task_id).value, 3)
  send('wfrecovery.task', { tasks: [record(1)] })
  assert.equal(state.progress.size, 0)
  assert.equal(tasks.length, 2)
  send('reconnecting')
  assert.equal(state.connection, 'offline')
  send('reconnected')
  await settled()
  assert.equal(state.connection, 'online')
})

test('an answer that is no status is not taken for one', () => {
  const state = stateWith([status()])
  for (const nonsense of [null, {}, { boot_id: 'x' }]) state.take(nonsense)
  assert.equal(state.status, null)
})
