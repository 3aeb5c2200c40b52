/** The plugin's settings in ComfyUI's own dialog. The server's values count; the page's copies follow them. */

import { t } from '../texts.mjs'

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
  /** `dialog`: ComfyUI's `{get(id), set(id, value)}`, asked for when needed; `complain(summary, detail)`. */
  constructor({ routes, dialog, complain }) {
    this._routes = routes
    this._dialog = dialog
    this._complain = complain
    this._values = null
    this._fixed = {}
    this._timers = new Map()
    /** changes made before the server's values were known */
    this._early = new Map()
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

  /** Show the server's values. */
  async load() {
    this._take(await this._routes.settings())
    for (const [id, value] of this._early) this._dialog().set(id, value)
    this._early.clear()
  }

  _take({ settings, fixed }) {
    this._values = settings
    this._fixed = fixed ?? {}
    // What has just been changed, and waits to be sent, is newer than what the server says.
    for (const { id, key } of SETTINGS) if (!this._timers.has(id)) this._show(id, key)
  }

  _show(id, key) {
    const value = this._values[key]
    if (value !== undefined && this._dialog().get(id) !== value) this._dialog().set(id, value)
  }

  /** ComfyUI calls this when a setting is registered (without a value before), when the user changes it, and when we do. */
  _changed(id, key, value, before) {
    clearTimeout(this._timers.get(id))
    this._timers.delete(id)
    if (this._values === null) {
      if (before !== undefined && value !== before) this._early.set(id, value)
    } else if (value !== this._values[key]) {
      this._timers.set(id, setTimeout(() => this._send(id, key, value), QUIET))
    }
  }

  async _send(id, key, value) {
    this._timers.delete(id)
    const where = this._fixed[key]
    if (where) {
      const place = where === 'environment' ? t('the environment (WFRECOVERY_{name})', { name: key.toUpperCase() }) : where
      this._complain(t('This setting is fixed'), t('It is set by {place}, and can be changed there.', { place }))
    } else {
      try {
        this._take(await this._routes.saveSettings({ [key]: value }))
        return
      } catch (error) {
        this._complain(t('The setting could not be saved'), error.message)
      }
    }
    this._show(id, key)
  }
}
