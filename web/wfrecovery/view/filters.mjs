/** Counts by status, search, and filters. The filter is kept while the panel is closed. */

import { fill, h, icon, setText } from './dom.mjs'
import { t } from '../texts.mjs'
import { numberText, STATUS, STATUSES, statusText, WORKFLOW_TYPES, workflowText } from '../words.mjs'

/** Milliseconds of quiet before what is typed is searched. */
const QUIET = 120

/** Choices of the status filter beside the three statuses, as the server's query parameters. */
const FINER = {
  'stage:running': { stage: 'running' },
  'stage:asking': { stage: 'asking' },
  'stage:cancelled': { stage: 'cancelled' },
  'feishu:pending': { feishu: 'pending' },
  'feishu:blocked': { feishu: 'blocked' },
}

export class Filters {
  /** `chosen`: `{status, workflow, q}` as it was left; `onChange(query)` with the server's parameters. */
  constructor(chosen, onChange) {
    this._chosen = chosen
    this._onChange = onChange
    this._chips = new Map(STATUSES.map((status) => [status, this._chip(status)]))
    this._search = h('input', {
      type: 'search',
      class: 'wfr-input',
      'data-wfr': 'search',
      placeholder: t('Product, model, row or id'),
      'aria-label': t('Search tasks'),
      spellcheck: 'false',
      autocomplete: 'off',
      value: chosen.q,
      oninput: () => this._typed(),
      onkeydown: (event) => this._searchKey(event),
    })
    this._status = select('filter-status', t('Status'), [
      ['', t('Every status')],
      ...STATUSES.map((status) => [status, statusText(status)]),
      ['stage:running', t('Rendering now')],
      ['stage:asking', t('Waits for your decision')],
      ['stage:cancelled', t('Cancelled')],
      ['feishu:pending', t('Waiting for Feishu')],
      ['feishu:blocked', t('Not in the sheet')],
    ])
    this._workflow = select('filter-workflow', t('Workflow'), [
      ['', t('Every workflow')],
      ...WORKFLOW_TYPES.map((type) => [type, workflowText(type)]),
    ])
    for (const [box, name] of [
      [this._status, 'status'],
      [this._workflow, 'workflow'],
    ]) {
      box.value = chosen[name]
      box.addEventListener('change', () => this.choose({ [name]: box.value }))
    }
    this.element = h(
      'div',
      { class: 'wfr-filters', role: 'search' },
      h('div', { class: 'wfr-counts', 'data-wfr': 'counts', role: 'group', 'aria-label': t('Status') }, [...this._chips.values()].map((chip) => chip.element)),
      h('div', { class: 'wfr-search' }, icon('search'), this._search),
      h('div', { class: 'wfr-selects' }, this._status, this._workflow),
    )
    this._showChosen()
  }

  destroy() {
    clearTimeout(this._timer)
  }

  /** The server's parameters for what is chosen. */
  get query() {
    return queryOf(this._chosen)
  }

  get isFiltered() {
    return Boolean(this._chosen.status || this._chosen.workflow || this._chosen.q)
  }

  /** Change some of the choices. */
  choose(changes) {
    // What was typed a moment ago counts as well, though nothing was searched yet.
    clearTimeout(this._timer)
    Object.assign(this._chosen, { q: this._search.value.trim() }, changes)
    this._search.value = this._chosen.q
    this._status.value = this._chosen.status
    this._workflow.value = this._chosen.workflow
    this._showChosen()
    this._onChange(this.query)
  }

  showCounts(tasks) {
    for (const [status, chip] of this._chips) {
      setText(chip.count, numberText(tasks[status] ?? 0))
      chip.element.dataset.count = tasks[status] ?? 0
    }
  }

  _chip(status) {
    const count = h('span', { class: 'wfr-count' }, '–')
    const element = h(
      'button',
      {
        type: 'button',
        class: 'wfr-chip',
        'data-status': status,
        onclick: () => this.choose({ status: this._chosen.status === status ? '' : status }),
      },
      count,
      ' ',
      h('span', { class: 'wfr-chip-name' }, statusText(status)),
    )
    element.dataset.tone = { [STATUS.inProgress]: 'busy', [STATUS.completed]: 'good', [STATUS.failed]: 'bad' }[status]
    return { element, count }
  }

  _showChosen() {
    for (const [status, { element }] of this._chips) element.setAttribute('aria-pressed', this._chosen.status === status)
  }

  _typed() {
    clearTimeout(this._timer)
    this._timer = setTimeout(() => {
      const q = this._search.value.trim()
      if (q === this._chosen.q) return
      this._chosen.q = q
      this._onChange(this.query)
    }, QUIET)
  }

  _searchKey(event) {
    if (event.key === 'Escape' && this._search.value) {
      event.preventDefault()
      event.stopPropagation()
      this.choose({ q: '' })
    }
  }
}

/** The server's query parameters for `{status, workflow, q}`. */
export function queryOf({ status, workflow, q }) {
  return { ...(FINER[status] ?? { status }), workflow_type: workflow, q }
}

function select(hook, label, options) {
  const box = h('select', { class: 'wfr-input', 'data-wfr': hook, 'aria-label': label })
  return fill(box, ...options.map(([value, text]) => h('option', { value }, text)))
}
