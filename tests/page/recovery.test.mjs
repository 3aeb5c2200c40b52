import assert from 'node:assert/strict'
import { mock, test } from 'node:test'

import { RecoveryWatch } from '../../web/wfrecovery/data/recovery.mjs'
import { State } from '../../web/wfrecovery/data/state.mjs'
import { settled, status, Storage } from './support.mjs'

function run(more) {
  return status({ recovery: { ...status().recovery, ...more } })
}

const ended = { state: 'idle', total: 5, done: 5, recovered: 2, requeued: 3, started_at: 'run 1', finished_at: 'later' }

function watch(storage = new Storage()) {
  const toasts = []
  const routes = { status: async () => routes.now, now: status(), recover: async () => ({ started: true, recovery: routes.now.recovery }) }
  const state = new State(routes)
  const watching = new RecoveryWatch({ state, routes, storage, tell: (message) => toasts.push(message) })
  return { routes, state, storage, toasts, watching }
}

test('a recovery ends in one toast with its numbers, however often the status comes', () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  const { state, toasts } = watch()
  state.take(run({ ...ended, state: 'running', done: 2, finished_at: null }))
  for (let turn = 0; turn < 3; turn++) state.take(run(ended))
  mock.timers.reset()
  assert.equal(toasts.length, 1)
  assert.match(toasts[0].detail, /2 found complete, 3 queued again/)
  assert.equal(toasts[0].severity, 'success')
})

test('what was told is not told again after a reload', () => {
  const { state, storage } = watch()
  state.take(run(ended))
  const again = watch(storage)
  again.state.take(run(ended))
  assert.equal(again.toasts.length, 0)
})

test('a start with nothing to recover is not worth a word, unless it was asked for', async () => {
  const { routes, state, toasts, watching } = watch()
  const nothing = { ...ended, total: 0, done: 0, recovered: 0, requeued: 0 }
  state.take(run(nothing))
  assert.equal(toasts.length, 0)
  routes.now = run({ ...nothing, started_at: 'run 2' })
  await watching.start()
  assert.equal(toasts.length, 1)
  assert.equal(toasts[0].summary, 'Nothing to recover')
})

test('a running recovery is looked at without any event', async () => {
  mock.timers.enable({ apis: ['setTimeout'] })
  const { routes, toasts, watching } = watch()
  routes.now = run({ ...ended, state: 'running', done: 1, finished_at: null })
  await watching.start()
  routes.now = run(ended)
  mock.timers.tick(1000)
  await settled()
  mock.timers.reset()
  assert.equal(toasts.length, 1)
})

test('failures make it a warning', () => {
  const { state, toasts } = watch()
  state.take(run({ ...ended, failed: 1 }))
  assert.equal(toasts[0].severity, 'warn')
})
