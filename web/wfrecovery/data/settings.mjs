/** The plugin's settings in ComfyUI's own dialog. The server's values count; the page's copies follow them. */

import { t } from '../texts.mjs'
import { OFFLINE } from './server.mjs'

/** Milliseconds of quiet before a change is sent: a number is typed digit by digit. */
const QUIET = 400
const CATEGORY = 'Workflow Recovery'

/** ComfyUI's id, the server's name, and how it is edited; texts are translated by `locales/…/settings.json`. */
const SETTINGS = [
  {
    id: 'wfrecovery.lostPrompts',
    key: 'lost_prompts',
    name: 'Prompts without a row that a crash took',
    tooltip: 'Rows of the sheet always recover by themselves. Other prompts: ask first, queue them again, or leave them.',
    type: 'combo',
    options: [
      { text: 'Ask first', value: 'ask' },
      { text: 'Queue again', value: 'auto' },
      { text: 'Leave them', value: 'off' },
    ],
    defaultValue: 'ask',
    group: 'Recovery',
  },
  {
    id: 'wfrecovery.maxAttempts',
    key: 'max_attempts',
    name: 'Attempts per task',
    tooltip: 'A task that took ComfyUI down this often is given up.',
    type: 'number',
    attrs: { min: 1, max: 100, step: 1 },
    defaultValue: 3,
    group: 'Recovery',
  },
  {
    id: 'wfrecovery.recordOtherPrompts',
    key: 'record_other_prompts',
    name: 'Record prompts without a row',
    tooltip: 'Switched off, only prompts that belong to a row of the sheet are recorded and recovered.',
    type: 'boolean',
    defaultValue: true,
    group: 'Recording',
  },
  {
    id: 'wfrecovery.keepDays',
    key: 'keep_days',
    name: 'Keep finished tasks for days',
    tooltip: 'Older records are removed, never the pictures and videos. 0 keeps them for ever.',
    type: 'number',
    attrs: { min: 0, max: 36500, step: 1 },
    defaultValue: 0,
    group: 'Recording',
  },
  {
    id: 'wfrecovery.writeFailed',
    key: 'write_failed',
    name: 'Write 失败 into the sheet',
    tooltip: 'When a row failed for good, its status cell says so.',
    type: 'boolean',
    defaultValue: true,
    group: 'Feishu',
  },
  {
    id: 'wfrecovery.standstillMinutes',
    key: 'standstill_minutes',
    name: 'Minutes at a standstill until the group is told',
    tooltip: 'There is work, and no task, no progress and no result has moved for so long. 0 never tells.',
    type: 'number',
    attrs: { min: 0, max: 1440, step: 1 },
    defaultValue: 15,
    group: 'Feishu',
  },
]

export class Settings {
  /**
   * `dialog`: ComfyUI's `{get(id), set(id, value)}`, asked for when needed; `complain(summary, detail)`;
   * `trouble(error)`: a request was not answered as wished. Who hears that calls `load` when ComfyUI answers again.
   */
  constructor({ routes, dialog, complain, trouble }) {
    this._routes = routes
    this._dialog = dialog
    this._complain = complain
    this._trouble = trouble
    this._values = {}
    this._fixed = {}
    this._timers = new Map()
    /** by id: what a person has set, until the server has taken or refused it */
    this._wanted = new Map()
    this._stale = this._busy = false
  }

  /** What `registerExtension` takes as `settings`. */
  definitions() {
    return SETTINGS.map(({ key, group, ...setting }, index) => ({
      ...setting,
      category: [CATEGORY, group, setting.id.split('.').pop()],
      sortOrder: 100 - index,
      onChange: (value, before) => this._changed(setting.id, key, value, before),
    }))
  }

  /** Show the server's values, and send what it could not be told before. Never throws. */
  async load() {
    this._stale = true
    await this._talk()
  }

  /** The page goes: what the server has not confirmed is sent at once. */
  flush() {
    for (const { id, key } of SETTINGS) {
      // Nobody hears the answer. A page that comes back after all sends it again.
      if (this._wanted.has(id)) this._routes.saveSettings({ [key]: this._wanted.get(id) }).catch(() => {})
    }
  }

  /** ComfyUI calls this when a setting is registered (without a value before), when the user changes it, and when we do. */
  _changed(id, key, value, before) {
    if (before === undefined || (value === this._values[key] && !this._wanted.has(id))) return
    this._wanted.set(id, value)
    clearTimeout(this._timers.get(id))
    const send = () => {
      this._timers.delete(id)
      this._talk()
    }
    this._timers.set(id, setTimeout(send, QUIET))
  }

  /** One request at a time: an answer from before a change must not come after that one's. */
  async _talk() {
    if (this._busy) return
    this._busy = true
    let answers = true
    while (answers && (this._stale || this._due())) {
      try {
        await (this._stale ? this._read() : this._write(this._due()))
      } catch (error) {
        this._trouble(error)
        answers = error.kind !== OFFLINE
      }
    }
    this._busy = false
  }

  /** A setting whose change is to be sent now. */
  _due() {
    return SETTINGS.find(({ id }) => this._wanted.has(id) && !this._timers.has(id))
  }

  async _read() {
    this._stale = false
    this._take(await this._routes.settings())
    this._show()
  }

  async _write({ id, key }) {
    const value = this._wanted.get(id)
    let complaint = this._whyFixed(key)
    if (!complaint) {
      try {
        this._take(await this._routes.saveSettings({ [key]: value }))
      } catch (error) {
        if (error.kind === OFFLINE) throw error
        complaint = [t('The setting could not be saved'), error.message]
      }
    }
    // It may have been changed again meanwhile. A field without a number may say NaN.
    if (Object.is(this._wanted.get(id), value)) this._wanted.delete(id)
    this._show()
    if (complaint) this._complain(...complaint)
  }

  _whyFixed(key) {
    const where = this._fixed[key]
    if (!where) return null
    const place = where === 'environment' ? t('the environment (WFRECOVERY_{name})', { name: key.toUpperCase() }) : where
    return [t('This setting is fixed'), t('It is set by {place}, and can be changed there.', { place })]
  }

  _take({ settings, fixed }) {
    if (!settings) throw new TypeError(t('The answer has no settings.'))
    this._values = settings
    this._fixed = fixed ?? {}
  }

  /** What a person has set, and the server has not confirmed, is newer than what it says. */
  _show() {
    for (const { id, key } of SETTINGS) {
      const value = this._values[key]
      if (value !== undefined && !this._wanted.has(id) && this._dialog().get(id) !== value) this._dialog().set(id, value)
    }
  }
}
