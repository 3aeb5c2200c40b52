/** Whether Feishu is set up and works, and what to do where not: what `wfrecovery doctor` says, in the panel. */

import { button, fill, h, icon, setText } from './dom.mjs'
import { serverLanguage, t, worded } from '../texts.mjs'

const RESULT = {
  true: { name: 'check-circle', kind: 'wfr-good' },
  false: { name: 'times-circle', kind: 'wfr-bad' },
  null: { name: 'minus-circle', kind: 'wfr-unsure' },
}

export class Setup {
  constructor({ state, routes, onError }) {
    this._state = state
    this._routes = routes
    this._onError = onError
    this._mark = h('span', { class: 'wfr-mark' })
    this._words = h('span', { class: 'wfr-setup-words' })
    this._checks = h('ul', { class: 'wfr-checks', 'data-wfr': 'doctor', 'aria-live': 'polite' })
    this._fixed = h('p', { class: 'wfr-muted' })
    this._again = button({ label: t('Check again'), iconName: 'refresh', onclick: () => this._check() })
    this.element = h(
      'details',
      { class: 'wfr-setup', 'data-wfr': 'setup', ontoggle: () => this.element.open && this._check() },
      h('summary', {}, this._mark, h('strong', {}, t('Setup')), this._words),
      h('div', { class: 'wfr-setup-body' }, this._checks, this._fixed, h('div', { class: 'wfr-buttons' }, this._again)),
    )
  }

  /** What the status says; the checks themselves run only when they are opened, for they ask Feishu. */
  update({ feishu, settings_error: settingsError, last_error: lastError }) {
    const trouble = settingsError || (feishu.configured && worded(feishu.last_error, feishu.last_error_zh))
    const result = trouble ? RESULT.false : feishu.configured ? RESULT.true : RESULT.null
    fill(this._mark, icon(result.name, result.kind))
    setText(this._words, trouble || (feishu.configured ? t('Feishu is set up') : t('Feishu is not set up: results stay on disk')))
    this._words.title = trouble || ''
    this.element.classList.toggle('wfr-has-trouble', Boolean(trouble || lastError))
  }

  async _check() {
    this._again.disabled = true
    fill(this._checks, h('li', { class: 'wfr-muted' }, icon('spinner', 'pi-spin'), ' ', t('Checking…')))
    try {
      const { checks } = await this._routes.doctor(serverLanguage())
      fill(this._checks, inOrder(checks).map(checkEntry))
      await this._showFixed()
    } catch (error) {
      fill(this._checks, h('li', { class: 'wfr-muted' }, error.message))
      this._state.trouble(error)
    } finally {
      this._again.disabled = false
    }
  }

  /** Settings that cannot be changed in ComfyUI's dialog, and where they can. */
  async _showFixed() {
    const { fixed } = await this._routes.settings()
    const names = Object.entries(fixed).map(([name, where]) => `${name} (${where})`)
    setText(this._fixed, names.length ? t('Fixed outside ComfyUI: {names}', { names: names.join(t(', ')) }) : '')
  }
}

/** What is to be mended first, then what could not be checked. */
function inOrder(checks) {
  const rank = ({ ok }) => [false, null, true].indexOf(ok)
  return [...checks].sort((a, b) => rank(a) - rank(b))
}

function checkEntry({ id, ok, title, detail, advice }) {
  const result = RESULT[ok] ?? RESULT.null
  const said = { true: t('all right'), false: t('to be mended'), null: t('not checked') }[ok]
  return h(
    'li',
    { 'data-check': id, 'data-ok': ok },
    icon(result.name, result.kind),
    h(
      'div',
      {},
      h('strong', {}, title),
      h('span', { class: 'wfr-hidden' }, ` (${said})`),
      detail && h(ok === true ? 'span' : 'div', { class: 'wfr-muted wfr-pre' }, ok === true ? ` ${detail}` : detail),
      advice && ok !== true && h('div', { class: 'wfr-advice wfr-pre' }, advice),
    ),
  )
}
