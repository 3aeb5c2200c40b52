/** What a person decides about a result that does not get into the sheet by itself: which row, which file, or nothing. */

import { button, fill, h } from './dom.mjs'
import { Question } from './question.mjs'
import { fileThumbnail } from './thumbnail.mjs'
import { serverLanguage, t } from '../texts.mjs'
import { sizeText, timeText, titleOf } from '../words.mjs'

export class Decisions {
  /** `onDone(record, said)`: what the server made of it, and that in words; `onClosed(action)` gives the focus back. */
  constructor({ routes, onDone, onClosed }) {
    this._routes = routes
    this._onDone = onDone
    this._onClosed = onClosed
  }

  /** `action` is one of `write`, `adopt`, `leave` and `retry`. */
  ask(record, action) {
    this.destroy()
    const asked = { write: () => this._write(record), adopt: () => this._adopt(record), leave: () => this._leave(record), retry: () => this._renderAgain(record) }
    this._question = asked[action]()
    this._question.ask()
  }

  destroy() {
    this._question?.close()
  }

  /** Into a row: it is named with what it says now, and it is that row, or none, that the result goes into. */
  _write(record) {
    const choices = new Choices('row', (value) => question.take(value))
    const load = async (number) => (await this._routes.rows(record.task_id, serverLanguage(), number)).rows.map(rowChoice)
    const number = h('input', { class: 'wfr-input wfr-row-number', type: 'number', min: 1, 'data-wfr': 'other-row', 'aria-label': t('Another row') })
    const look = () => number.value && number.checkValidity() && question.attempt(async () => choices.add(...(await load(number.value))))
    number.addEventListener('keydown', (event) => event.key === 'Enter' && look())
    const show = async () => {
      question.take(null)
      await choices.fill(load, t('No row of the sheet is like the one that it was made for.'))
      choices.tickTheOnlyOne()
    }
    const question = this._about(record, 'write', {
      title: t('Which row does the result of {title} go into?', { title: titleOf(record) }),
      meaning: t('It is written there whatever the row says now, in the place of what stands there.'),
      choice: [choices.element, h('div', { class: 'wfr-choice-row' }, h('span', {}, t('Another row')), number, button({ hook: 'look', label: t('Look'), iconName: 'search', onclick: look }))],
      yes: t('Write it there'),
      named: () => choices.value,
      said: t('It will be written.'),
      onRefused: show, // the rows are not what they were
    })
    question.attempt(show)
    return question
  }

  /** A file: one of those that look like it, or one that is named. */
  _adopt(record) {
    const label = t('Another file, by its path in the output folder')
    const typed = h('input', { class: 'wfr-input', type: 'text', spellcheck: 'false', autocomplete: 'off', 'data-wfr': 'other-file', placeholder: 'img/….png' })
    const choices = new Choices('candidate', (value) => {
      typed.value = ''
      question.take(value)
    })
    const path = () => typed.value.trim() || choices.value
    typed.addEventListener('input', () => {
      choices.untick()
      question.take(path())
    })
    const load = async () => (await this._routes.candidates(record.task_id)).files.map((file) => fileChoice(file, record, this._routes))
    const question = this._about(record, 'adopt', {
      title: t('Which file is the result of {title}?', { title: titleOf(record) }),
      meaning: record.row_number
        ? t('It has to be whole. Nothing is rendered again: it becomes the result of this task, and goes into its row.')
        : t('It has to be whole. Nothing is rendered again: it becomes the result of this task.'),
      choice: [choices.element, h('label', { class: 'wfr-choice-file' }, h('span', {}, label), typed)],
      yes: t('Use this file'),
      named: () => ({ path: path() }),
      said: t('The file is its result now.'),
    })
    question.attempt(() => choices.fill(load, t('No file in the output folder looks like it.')))
    return question
  }

  _leave(record) {
    return this._about(record, 'leave', {
      title: t('Leave the result of {title}?', { title: titleOf(record) }),
      meaning: t('It is not written any more; its files stay where they are. Its row is free then: the next batch renders what the row says now, if it is not marked as done.'),
      yes: t('Leave it'),
      said: t('It is not written any more.'),
    })
  }

  /** It is paid for once more, and does not get into a row that was changed either. */
  _renderAgain(record) {
    return this._about(record, 'retry', {
      title: t('Render {title} again?', { title: titleOf(record) }),
      meaning: t('It is made once more by the workflow that it was sent with: what its row says now does not go into it. Where the row was changed, leave the result instead: the next batch renders what the row says now.'),
      yes: t('Render again'),
      said: t('Queued again.'),
    })
  }

  _about(record, action, { named = () => ({}), said, onRefused = () => {}, ...parts }) {
    return new Question({
      ...parts,
      hook: `decide-${action}`,
      no: t('Decide later'),
      onYes: async () => {
        try {
          this._onDone(await this._routes.act(record.task_id, action, named()), said)
        } catch (trouble) {
          await onRefused()
          throw trouble
        }
      },
      onClosed: () => this._onClosed(action),
    })
  }
}

/** A list of which one can be ticked. */
class Choices {
  /** `onChoose(value)` */
  constructor(name, onChoose) {
    this._name = name
    this._onChoose = onChoose
    this.value = null
    this.element = h('ul', { class: 'wfr-preview-list', 'data-wfr': 'choices' }, note(t('Loading…')))
  }

  /** With what `load()` gives, each `{key, value, parts}`; `none` is said where that is nothing. */
  async fill(load, none) {
    let entries = []
    try {
      entries = await load()
    } finally {
      this.value = null
      fill(this.element, entries.length ? entries.map((entry) => this._entry(entry)) : note(none))
    }
  }

  /** One more, or the same as it is now; it is ticked. */
  add(entry) {
    if (!this._boxes.length) fill(this.element)
    const item = this._entry(entry)
    const same = this.element.querySelector(`[data-key="${CSS.escape(entry.key)}"]`)
    if (same) same.replaceWith(item)
    else this.element.append(item)
    item.querySelector('input').click()
    item.scrollIntoView({ block: 'nearest' })
  }

  tickTheOnlyOne() {
    if (this._boxes.length === 1) this._boxes[0].click()
  }

  untick() {
    this.value = null
    for (const box of this._boxes) box.checked = false
  }

  get _boxes() {
    return this.element.querySelectorAll('input')
  }

  _entry({ key, value, parts }) {
    const choose = () => {
      this.value = value
      this._onChoose(value)
    }
    return h('li', { 'data-key': key }, h('label', { class: 'wfr-tick', 'data-wfr': this._name }, h('input', { type: 'radio', name: `wfr-${this._name}`, onchange: choose }), parts))
  }
}

function note(text) {
  return h('li', { class: 'wfr-muted wfr-choice-note' }, text)
}

function rowChoice({ row_number: number, product_name: product, model_name: model, prompt, seen }) {
  const text = h(
    'span',
    { class: 'wfr-tick-text' },
    h('strong', {}, t('Row {row}', { row: number })),
    h('span', { translate: 'no' }, [product, model].filter(Boolean).join(' · ')),
    h('span', { class: 'wfr-muted wfr-choice-prompt', translate: 'no' }, prompt),
  )
  return { key: String(number), value: { row_number: number, seen }, parts: [text] }
}

function fileChoice({ path, kind, size, changed_at: changed, task_id: of }, record, routes) {
  const whose = of && (of === record.task_id ? t('carries this task’s id') : t('carries the id of {task}', { task: of }))
  const text = h(
    'span',
    { class: 'wfr-tick-text' },
    h('span', { class: 'wfr-choice-path', translate: 'no' }, path),
    h('span', { class: 'wfr-muted' }, [timeText(changed), sizeText(size), whose].filter(Boolean).join(' · ')),
  )
  return { key: path, value: path, parts: [fileThumbnail({ path, kind }, routes), text] }
}
