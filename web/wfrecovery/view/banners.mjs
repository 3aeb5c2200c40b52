/** What stands at the panel's top as long as it is so, and goes away by itself. */

import { h, icon, setText } from './dom.mjs'
import { CONNECTION } from '../data/state.mjs'
import { t, worded } from '../texts.mjs'
import { numberText } from '../words.mjs'

export class Banners {
  constructor() {
    this.element = h('div', { class: 'wfr-banner-place', 'aria-live': 'polite' })
  }

  /** What matters most of the connection, and of what the server side says of its disk; and whether the batch stands. */
  show(connection, status) {
    const why = whyUnwritten(status)
    const what = CONNECTIONS[connection] ? connection : why ? `unwritten ${status.unwritten.changes > 0}: ${why}` : ''
    const stands = CONNECTIONS[connection] ? '' : whyStanding(status)
    const shown = JSON.stringify([what, stands])
    if (this._shown !== shown) {
      this._shown = shown
      const first = CONNECTIONS[connection]?.(status) ?? (what && unwritten(status))
      this.element.replaceChildren(...[first, stands && standing(stands)].filter(Boolean))
    } else if (what.startsWith('unwritten')) {
      setText(this.element.querySelector('strong'), unwrittenHeading(status))
    }
  }
}

const CONNECTIONS = {
  [CONNECTION.offline]: () => banner('offline', 'wifi', t('ComfyUI does not answer.'), t('Nothing is lost: tasks are on disk. This comes back by itself.')),
  [CONNECTION.missing]: () =>
    banner('server-missing', 'exclamation-triangle', t('The server side of Workflow Recovery is not running.'), t('Tasks are not being recorded. ComfyUI\'s log says why, next to "wfrecovery"; often a package of requirements.txt is missing.')),
  [CONNECTION.older]: (status) =>
    banner('server-older', 'exclamation-triangle', t('The server side is older than this page.'), t('It is version {version}. Restart ComfyUI, then reload this page.', { version: status?.version ?? '?' })),
}

function banner(hook, iconName, heading, text) {
  return h('div', { class: 'wfr-banner', 'data-wfr': hook }, icon(iconName), h('div', {}, h('strong', {}, heading), h('p', {}, text)))
}

function unwritten(status) {
  const text = status.unwritten.changes > 0
    ? t('They are kept, and written as soon as the disk takes them.')
    : t('What you see is what was read last. What other programs leave behind is not taken over meanwhile.')
  const element = banner('unwritten', 'database', unwrittenHeading(status), text)
  element.querySelector('strong').setAttribute('aria-live', 'off') // the number goes up and up
  return element
}

function whyUnwritten(status) {
  const { error, error_zh: chinese } = status?.unwritten ?? {}
  return error ? worded(error, chinese) : ''
}

function unwrittenHeading(status) {
  const { changes } = status.unwritten
  const reason = whyUnwritten(status)
  if (!(changes > 0)) return t('The task table cannot be read ({reason})', { reason })
  return changes === 1 ? t('1 change is not on disk yet ({reason})', { reason }) : t('{n} changes are not on disk yet ({reason})', { n: numberText(changes), reason })
}

function whyStanding(status) {
  const { text, text_zh: chinese } = status?.standstill ?? {}
  return worded(text, chinese)
}

function standing(text) {
  return banner('standstill', 'pause', t('At a standstill'), text)
}
