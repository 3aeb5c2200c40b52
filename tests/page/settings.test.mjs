import assert from 'node:assert/strict'
import { afterEach, beforeEach, mock, test } from 'node:test'

import { OFFLINE, ServerError } from '../../web/wfrecovery/data/server.mjs'
import { Settings } from '../../web/wfrecovery/data/settings.mjs'
import { settled } from './support.mjs'

const SERVER = { lost_prompts: 'auto', max_attempts: 5, record_other_prompts: true, write_failed: false, keep_days: 30, standstill_minutes: 15 }

/** ComfyUI's settings as both generations of the page have them: `onChange` at registration and at each change. */
class Dialog {
  constructor(definitions) {
    this.values = new Map()
    this.definitions = new Map(definitions.map((one) => [one.id, one]))
    for (const one of definitions) one.onChange(one.defaultValue, undefined)
  }

  get(id) {
    return this.values.get(id) ?? this.definitions.get(id).defaultValue
  }

  set(id, value) {
    if (value === this.get(id)) return
    this.definitions.get(id).onChange(value, this.get(id))
    this.values.set(id, value)
  }
}

/** A server side in memory: `failing` is what its routes throw, `hold()` has them answer when the function that it returns is called. */
function setUp({ fixed = {} } = {}) {
  const sent = []
  const complaints = []
  const server = { values: { ...SERVER }, failing: null }
  let gate = null
  server.hold = () => {
    let open
    gate = new Promise((resolve) => (open = resolve))
    return () => {
      gate = null
      open()
    }
  }
  /** What holds when it is asked is answered when the gate opens. */
  const answer = async () => {
    const answered = { settings: server.values, fixed }
    const failing = server.failing
    await gate
    if (failing) throw failing
    return answered
  }
  const routes = {
    settings: answer,
    saveSettings: async (changes) => {
      sent.push(changes)
      if (!server.failing) server.values = { ...server.values, ...changes }
      return answer()
    },
  }
  const troubles = []
  const settings = new Settings({
    routes,
    dialog: () => dialog,
    complain: (...words) => complaints.push(words),
    trouble: (error) => troubles.push(error),
  })
  const dialog = new Dialog(settings.definitions())
  return { settings, dialog, server, routes, sent, complaints, troubles }
}

/** The quiet after a change, and what follows it. */
async function quiet() {
  mock.timers.tick(400)
  await settled()
}

beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }))
afterEach(() => mock.timers.reset())

test("the dialog shows the server's values, and showing them changes nothing there", async () => {
  const { settings, dialog, sent } = setUp()
  await settings.load()
  await quiet()
  assert.equal(dialog.get('wfrecovery.lostPrompts'), 'auto')
  assert.equal(dialog.get('wfrecovery.maxAttempts'), 5)
  assert.equal(dialog.get('wfrecovery.writeFailed'), false)
  assert.deepEqual(sent, [])
})

test('a change is sent once, when typing has ended', async () => {
  const { settings, dialog, sent } = setUp()
  await settings.load()
  for (const days of [3, 36, 365]) dialog.set('wfrecovery.keepDays', days)
  await quiet()
  assert.deepEqual(sent, [{ keep_days: 365 }])
  assert.equal(dialog.get('wfrecovery.keepDays'), 365)
})

test('a value that the server refuses snaps back, and its reason is told once', async () => {
  for (const refused of [0, NaN]) {
    const { settings, dialog, routes, complaints } = setUp()
    await settings.load()
    let asked = 0
    routes.saveSettings = async () => {
      if (++asked > 1) await new Promise(() => {})
      throw new ServerError('bad_setting', 'max_attempts is at least 1', 400)
    }
    dialog.set('wfrecovery.maxAttempts', refused)
    await quiet()
    assert.equal(asked, 1)
    assert.equal(dialog.get('wfrecovery.maxAttempts'), 5)
    assert.equal(complaints.length, 1)
    assert.match(complaints[0][1], /at least 1/)
  }
})

test('a change that is not sent yet outlives the answer to another one', async () => {
  for (const fixed of [{}, { max_attempts: 'environment' }]) {
    const { settings, dialog, server, sent, complaints } = setUp({ fixed })
    await settings.load()
    const answer = server.hold()
    dialog.set('wfrecovery.lostPrompts', 'off')
    await quiet()
    dialog.set('wfrecovery.maxAttempts', 9)
    answer()
    await settled()
    await quiet()
    const given = fixed.max_attempts === undefined
    assert.deepEqual(sent, given ? [{ lost_prompts: 'off' }, { max_attempts: 9 }] : [{ lost_prompts: 'off' }])
    assert.equal(dialog.get('wfrecovery.maxAttempts'), given ? 9 : 5)
    assert.equal(complaints.length, given ? 0 : 1)
  }
})

test('a fixed setting snaps back and says where it is fixed', async () => {
  const { settings, dialog, sent, complaints } = setUp({ fixed: { max_attempts: 'environment', write_failed: 'config.toml' } })
  await settings.load()
  dialog.set('wfrecovery.maxAttempts', 9)
  dialog.set('wfrecovery.writeFailed', true)
  await quiet()
  assert.deepEqual(sent, [])
  assert.equal(dialog.get('wfrecovery.maxAttempts'), 5)
  assert.equal(dialog.get('wfrecovery.writeFailed'), false)
  assert.match(complaints[0][1], /WFRECOVERY_MAX_ATTEMPTS/)
  assert.match(complaints[1][1], /config\.toml/)
})

test('being registered changes nothing, however late the server answers', async () => {
  const { settings, sent } = setUp()
  await quiet()
  await settings.load()
  await quiet()
  assert.deepEqual(sent, [])
})

test('a change made before the server has answered is sent after it', async () => {
  const { settings, dialog, server, sent } = setUp()
  const answer = server.hold()
  const loading = settings.load()
  dialog.set('wfrecovery.keepDays', 90)
  await quiet()
  assert.deepEqual(sent, [])
  answer()
  await loading
  assert.deepEqual(sent, [{ keep_days: 90 }])
  assert.equal(dialog.get('wfrecovery.keepDays'), 90)
  assert.equal(dialog.get('wfrecovery.maxAttempts'), 5)
})

test('a change is sent also where the settings cannot be read', async () => {
  const { settings, dialog, server, sent } = setUp()
  server.failing = new ServerError('internal', 'the disk')
  const answer = server.hold()
  const loading = settings.load()
  dialog.set('wfrecovery.keepDays', 90)
  await quiet()
  server.failing = null
  answer()
  await loading
  assert.deepEqual(sent, [{ keep_days: 90 }])
  assert.equal(server.values.keep_days, 90)
})

test('what ComfyUI does not answer stays as it was set, and is sent when it answers again', async () => {
  for (const known of [true, false]) {
    const { settings, dialog, server, sent, complaints, troubles } = setUp()
    if (known) await settings.load()
    server.failing = new ServerError(OFFLINE, 'no answer')
    if (!known) await settings.load()
    dialog.set('wfrecovery.keepDays', 90)
    await quiet()
    assert.equal(dialog.get('wfrecovery.keepDays'), 90)
    assert.ok(troubles.every(({ kind }) => kind === OFFLINE) && troubles.length > 0)
    server.failing = null
    sent.length = 0
    await settings.load()
    assert.deepEqual(sent, [{ keep_days: 90 }])
    assert.equal(server.values.keep_days, 90)
    assert.equal(dialog.get('wfrecovery.keepDays'), 90)
    assert.deepEqual(complaints, [])
    // It is done with: what another page sets later is shown.
    server.values = { ...server.values, keep_days: 7 }
    await settings.load()
    assert.equal(dialog.get('wfrecovery.keepDays'), 7)
  }
})

test('who changes a setting back while it is being saved has it back', async () => {
  const { settings, dialog, server } = setUp()
  await settings.load()
  const answer = server.hold()
  for (const value of [true, false]) {
    dialog.set('wfrecovery.writeFailed', value)
    await quiet()
  }
  answer()
  await settled()
  assert.equal(server.values.write_failed, false)
  assert.equal(dialog.get('wfrecovery.writeFailed'), false)
})

test('the later of two changes counts, however slow the earlier one is on its way', async () => {
  const { settings, dialog, server, routes } = setUp()
  await settings.load()
  const arrived = server.hold()
  const onTheWay = routes.settings()
  const { saveSettings } = routes
  routes.saveSettings = async (changes) => {
    if (changes.keep_days === 3) await onTheWay
    return saveSettings(changes)
  }
  for (const days of [3, 36]) {
    dialog.set('wfrecovery.keepDays', days)
    await quiet()
  }
  arrived()
  await settled()
  assert.equal(server.values.keep_days, 36)
  assert.equal(dialog.get('wfrecovery.keepDays'), 36)
})

test('what the server said before a change does not show after it', async () => {
  const { settings, dialog, server } = setUp()
  await settings.load()
  const answer = server.hold()
  const loading = settings.load()
  dialog.set('wfrecovery.lostPrompts', 'off')
  await quiet()
  answer()
  await loading
  assert.equal(server.values.lost_prompts, 'off')
  assert.equal(dialog.get('wfrecovery.lostPrompts'), 'off')
})

test('who closes the page at once has changed it, and what is being saved just then', async () => {
  const { settings, dialog, server, sent } = setUp()
  await settings.load()
  server.hold()
  dialog.set('wfrecovery.lostPrompts', 'off')
  await quiet()
  for (const [id, value] of [['lostPrompts', 'ask'], ['keepDays', 90]]) dialog.set(`wfrecovery.${id}`, value)
  settings.flush()
  await settled()
  assert.deepEqual(sent, [{ lost_prompts: 'off' }, { lost_prompts: 'ask' }, { keep_days: 90 }])
  assert.equal(server.values.lost_prompts, 'ask')
})

test('an answer without settings is told, and does not break the next change', async () => {
  const { settings, dialog, server, routes, complaints } = setUp()
  await settings.load()
  const { saveSettings } = routes
  routes.saveSettings = routes.settings = async () => ({ version: '0.1.0' })
  await settings.load()
  dialog.set('wfrecovery.keepDays', 90)
  await quiet()
  assert.match(complaints[0].join(), /could not be saved.*no settings/)
  assert.equal(dialog.get('wfrecovery.keepDays'), 30)
  routes.saveSettings = saveSettings
  dialog.set('wfrecovery.keepDays', 365)
  await quiet()
  assert.equal(server.values.keep_days, 365)
  assert.equal(dialog.get('wfrecovery.keepDays'), 365)
})
