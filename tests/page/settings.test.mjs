import assert from 'node:assert/strict'
import { afterEach, beforeEach, mock, test } from 'node:test'

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
    // The value before is the stored one: undefined for a setting that nobody ever changed.
    this.definitions.get(id).onChange(value, this.values.get(id))
    this.values.set(id, value)
  }
}

function setUp({ fixed = {}, refuse = null } = {}) {
  const sent = []
  const complaints = []
  let values = { ...SERVER }
  const routes = {
    settings: async () => ({ settings: values, fixed }),
    saveSettings: async (changes) => {
      sent.push(changes)
      if (refuse) throw new Error(refuse)
      values = { ...values, ...changes }
      const answer = { settings: values, fixed }
      await gate
      return answer
    },
  }
  let gate = null
  /** Have the answers wait for the function that this returns. */
  const hold = () => {
    let open
    gate = new Promise((resolve) => (open = resolve))
    return open
  }
  const settings = new Settings({ routes, dialog: () => dialog, complain: (...words) => complaints.push(words) })
  const dialog = new Dialog(settings.definitions())
  return { settings, dialog, sent, complaints, hold }
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

test('a value that the server refuses snaps back, and its reason is told', async () => {
  const { settings, dialog, complaints } = setUp({ refuse: 'max_attempts is at least 1' })
  await settings.load()
  dialog.set('wfrecovery.maxAttempts', 0)
  await quiet()
  assert.equal(dialog.get('wfrecovery.maxAttempts'), 5)
  assert.match(complaints[0][1], /at least 1/)
})

test('a change that is not sent yet outlives the answer to another one', async () => {
  for (const fixed of [{}, { max_attempts: 'environment' }]) {
    const { settings, dialog, sent, complaints, hold } = setUp({ fixed })
    await settings.load()
    const answer = hold()
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
  const { settings, dialog, sent } = setUp()
  dialog.values.set('wfrecovery.keepDays', 30)
  dialog.set('wfrecovery.keepDays', 90)
  await quiet()
  assert.deepEqual(sent, [])
  await settings.load()
  await quiet()
  assert.deepEqual(sent, [{ keep_days: 90 }])
  assert.equal(dialog.get('wfrecovery.keepDays'), 90)
})
