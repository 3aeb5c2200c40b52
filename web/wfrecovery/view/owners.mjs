/** Who else is at work in this folder, and taking over from them. Nothing of it is shown where nobody else has tasks. */

import { button, fill, h, icon, setText } from './dom.mjs'
import { Question } from './question.mjs'
import { lifeText, othersOf, ownerName, takeOverText, tasksText } from '../owners.mjs'
import { t } from '../texts.mjs'
import { numberText } from '../words.mjs'

/** What is shown of a token; as much names its owner on the command line. */
const SHORT = 8

const MARKS = {
  alive: { name: 'check-circle', kind: 'wfr-good' },
  doubt: { name: 'question-circle', kind: 'wfr-warn' },
  dead: { name: 'times-circle', kind: 'wfr-bad' },
}

export class Owners {
  /** `takeOver(boot)` has the server do it and answers how many tasks those were; `onTaken(n)` tells of it. */
  constructor({ takeOver, onTaken }) {
    this._takeOver = takeOver
    this._onTaken = onTaken
    this._mark = h('span', { class: 'wfr-mark' })
    this._words = h('span', { class: 'wfr-setup-words' })
    this._list = h('ul', { class: 'wfr-owners' })
    this.element = h(
      'details',
      { class: 'wfr-setup wfr-others', 'data-wfr': 'owners', hidden: true },
      h('summary', {}, this._mark, h('strong', {}, t('Other programs')), this._words),
      h(
        'div',
        { class: 'wfr-setup-body' },
        h('p', { class: 'wfr-muted' }, t('They work in the same folder, each on its own tasks. What one leaves behind when it ends is taken over by itself.')),
        this._list,
      ),
    )
  }

  destroy() {
    this._question?.close()
  }

  /** What the status says. */
  update(status) {
    const others = othersOf(status)
    const key = JSON.stringify(others)
    if (this._shown === key) return
    this._shown = key
    this.element.hidden = !others.length
    const worst = ['doubt', 'dead', 'alive'].map((life) => others.find((one) => one.life === life)).find(Boolean)
    if (!worst) return
    fill(this._mark, markOf(worst))
    setText(this._words, summaryOf(others, worst))
    const focused = this._list.contains(document.activeElement) && document.activeElement.dataset.owner
    fill(this._list, others.map((owner) => this._entry(owner)))
    if (focused) this._list.querySelector(`[data-owner="${CSS.escape(focused)}"]`)?.focus()
  }

  _entry(owner) {
    const name = ownerName(owner)
    const take = button({ hook: 'take-over-ask', label: t('Take over'), iconName: 'download', onclick: () => this._ask(owner) })
    take.setAttribute('aria-label', t('Take over from {name}', { name }))
    take.dataset.owner = owner.boot
    return h(
      'li',
      { 'data-wfr': 'owner', 'data-boot': owner.boot, 'data-life': owner.life },
      markOf(owner),
      h(
        'div',
        {},
        h('strong', { translate: 'no' }, name),
        h('div', { class: 'wfr-muted' }, `${tasksText(owner.tasks)} · ${lifeText(owner)} · `, h('code', {}, owner.boot.slice(0, SHORT))),
      ),
      take,
    )
  }

  _ask(owner) {
    this._question?.close()
    const name = ownerName(owner)
    this._question = new Question({
      hook: 'take-over',
      title: owner.tasks === 1 ? t('Take over 1 task from {name}?', { name }) : t('Take over {n} tasks from {name}?', { n: numberText(owner.tasks), name }),
      meaning: takeOverText(owner),
      yes: t('Take over'),
      no: t('Leave them there'),
      onYes: async () => this._onTaken(await this._takeOver(owner.boot)),
      onClosed: () => this._focusAgain(owner),
    })
    this._question.ask()
  }

  /** Back to where it was asked from; that button may have been made anew meanwhile. */
  _focusAgain({ boot }) {
    if (!this.element.isConnected || this.element.hidden) return
    const ask = this._list.querySelector(`[data-owner="${CSS.escape(boot)}"]`) ?? this.element.querySelector('summary')
    ask.focus()
  }
}

/** The one that wants attention by its words, else how many there are. */
function summaryOf(others, worst) {
  if (worst.life !== 'alive') return `${ownerName(worst)}: ${lifeText(worst)}`
  if (others.length === 1) return `${ownerName(worst)} · ${tasksText(worst.tasks)}`
  const tasks = others.reduce((sum, owner) => sum + owner.tasks, 0)
  return `${numberText(others.length)} · ${tasksText(tasks)}`
}

function markOf({ life }) {
  const { name, kind } = MARKS[life] ?? MARKS.doubt
  return icon(name, kind)
}
