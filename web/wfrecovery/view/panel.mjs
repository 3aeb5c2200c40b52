/** The sidebar tab: what is going on, and the list or one task. Built when the tab opens, dropped when it closes. */

import { button, fill, h, icon, setText } from './dom.mjs'
import { Banners } from './banners.mjs'
import { Decisions } from './decisions.mjs'
import { TaskDetail } from './detail.mjs'
import { Filters } from './filters.mjs'
import { TaskList } from './list.mjs'
import { Owners } from './owners.mjs'
import { Setup } from './setup.mjs'
import { CONNECTION } from '../data/state.mjs'
import { t } from '../texts.mjs'
import { isFinal, numberText, STATUS } from '../words.mjs'

/** Milliseconds in which changes are gathered before the list is asked for again. */
const GATHER = 500
/** Milliseconds between two looks of an open panel: main.py may write the table too, and times grow old. */
const LOOK_EVERY = 15_000

export class Panel {
  /** `page` has what outlives the panel: state, routes, pages of tasks, the chosen filter, and what can be done. */
  constructor(page) {
    this._page = page
    const { state, routes, pages } = page
    this._ending = new AbortController()
    this._live = h('div', { class: 'wfr-hidden', role: 'status', 'aria-live': 'polite' })
    this._notice = h('div', { class: 'wfr-notice', role: 'alert', hidden: true })
    this._banners = new Banners()
    this._recovery = h('div', { class: 'wfr-recovery', 'data-wfr': 'recovery-progress', role: 'progressbar', 'aria-label': t('Recovery'), hidden: true })
    this._asking = h('div', { class: 'wfr-asking', hidden: true })
    this._bulk = h('div', { class: 'wfr-buttons wfr-bulk' })
    this._empty = h('div', { class: 'wfr-empty', 'data-wfr': 'empty', hidden: true })
    this._filters = new Filters(page.chosen, (query) => this._filter(query))
    this._list = new TaskList({ pages, state, routes, onOpen: (record) => this._open(record) })
    this._detail = new TaskDetail({
      state,
      routes,
      onBack: () => this._back(),
      onAction: (record, action) => this._act(record, action),
      onLoadWorkflow: (record) => this._try(() => page.loadWorkflow(record)),
      onTrouble: (error) => this._failed(error),
    })
    this._decisions = new Decisions({ routes, onDone: (record, said) => this._changed(record, said), onClosed: (action) => this._isOpen && this._detail.focusOn(action) })
    this._setup = new Setup({ state, routes })
    this._owners = new Owners({ takeOver: (boot) => this._takeOver(boot), onTaken: (n) => this._note(t('Taken over: {n}', { n: numberText(n) })) })
    this._recover = button({ hook: 'recover', label: t('Recover'), iconName: 'history', title: t('Recover tasks'), onclick: () => this._try(page.recover) })
    this._sheet = button({ label: t('Sheet'), iconName: 'table', title: t('Open the Feishu sheet'), onclick: () => this._try(page.openSheet) })
    this._browse = h('div', { class: 'wfr-browse' }, this._filters.element, this._asking, this._bulk, h('div', { class: 'wfr-list-place' }, this._list.element, this._empty))
    this._main = h('div', { class: 'wfr-main' }, this._browse)
    this.element = h(
      'div',
      { class: 'wfr-root wfr-panel', 'data-wfr': 'panel', role: 'region', 'aria-label': t('Workflow Recovery') },
      h('div', { class: 'wfr-head' }, h('h2', { class: 'wfr-heading' }, t('Tasks')), h('div', { class: 'wfr-buttons' }, this._sheet, this._recover)),
      this._banners.element,
      this._recovery,
      this._notice,
      this._main,
      this._owners.element,
      this._setup.element,
      this._live,
    )
    this._listen()
    this._showStatus()
    this._showConnection()
    this._showList()
    this._begin()
  }

  destroy() {
    this._ending.abort()
    this._filters.destroy()
    this._list.destroy()
    this._owners.destroy()
    this._decisions.destroy()
    clearTimeout(this._gathering)
    clearInterval(this._looking)
  }

  focusSearch() {
    this._filters.element.querySelector('[data-wfr="search"]').focus()
  }

  _listen() {
    const { state, pages } = this._page
    const { signal } = this._ending
    state.on('status', (change) => this._takeStatus(change), { signal })
    state.on('connection', (change) => this._takeConnection(change), { signal })
    state.on('tasks', (records) => this._takeTasks(records), { signal })
    state.on('progress', (progress) => this._takeProgress(progress), { signal })
    pages.onChange = () => this._showList()
    signal.addEventListener('abort', () => (pages.onChange = () => {}))
    this._looking = setInterval(() => this._look(), LOOK_EVERY)
  }

  /** What was there when the panel was last open is shown at once; then it is brought up to date. */
  _begin() {
    const { state, pages } = this._page
    state.load()
    const asked = pages.total === null ? pages.setFilter(this._filters.query) : this._list.keepingPlace(() => pages.refresh())
    asked.catch((error) => this._failed(error))
  }

  _look() {
    if (document.hidden || this._page.state.connection !== CONNECTION.online) return
    this._page.state.load()
    this._list.draw()
  }

  // ---------------------------------------------------------------- what comes in

  _takeStatus({ status, before, restarted }) {
    this._showStatus()
    if (JSON.stringify(before?.owners) !== JSON.stringify(status.owners)) {
      this._list.draw() // whose a task is changes without the task
      if (this._isOpen) this._detail.updateOwner()
    }
    const counts = (of) => of && JSON.stringify([of.tasks, of.feishu.pending, of.feishu.blocked])
    if (restarted || (before && counts(before) !== counts(status))) this._refreshSoon()
  }

  _takeConnection({ connection, before }) {
    this._showConnection()
    if (connection !== CONNECTION.online) return
    if (before === CONNECTION.offline) this._say(t('ComfyUI is back.'))
    if (before !== CONNECTION.starting) this._refreshSoon()
  }

  _takeTasks(records) {
    if (this._page.pages.update(records)) this._refreshSoon()
    const shown = records.find((record) => record.task_id === this._detail.taskId)
    if (shown && this._isOpen) this._detail.update(shown)
  }

  _takeProgress({ task_id: taskId }) {
    this._list.drawTask(taskId)
    if (this._isOpen && this._detail.taskId === taskId) this._detail.progress()
  }

  _refreshSoon() {
    if (this._gathering) return
    this._gathering = setTimeout(() => {
      this._gathering = null
      this._list.keepingPlace(() => this._page.pages.refresh()).catch((error) => this._failed(error))
      if (this._isOpen) this._reload(this._detail.taskId)
    }, GATHER)
  }

  async _reload(taskId) {
    try {
      const record = await this._page.routes.task(taskId)
      if (this._detail.taskId === taskId) this._detail.update(record)
    } catch (error) {
      if (error.status === 404 && this._isOpen) this._back()
      else this._failed(error)
    }
  }

  // ---------------------------------------------------------------- what is shown

  _showStatus() {
    const { status } = this._page.state
    if (!status) return
    this._filters.showCounts(status.tasks)
    this._setup.update(status)
    this._owners.update(status)
    this._banners.show(this._page.state.connection, status)
    this._sheet.hidden = !status.feishu.configured
    this._showRecovery(status.recovery)
    this._showAsking(status.stages?.asking ?? 0)
    this._showBulk(status)
  }

  _showRecovery({ state, total, done }) {
    const running = state === 'running'
    this._recover.disabled = running
    this._recovery.hidden = !running
    if (!running) return
    const part = total ? Math.min(100, Math.round((100 * done) / total)) : null
    if (part === null) this._recovery.removeAttribute('aria-valuenow')
    else this._recovery.setAttribute('aria-valuenow', part)
    const text = total ? t('Recovering: {done} of {total}', { done: numberText(done), total: numberText(total) }) : t('Recovering: looking for unfinished tasks')
    this._recovery.setAttribute('aria-valuetext', text)
    const bar = h('div', { class: 'wfr-bar-fill', style: part === null ? null : `width:${part}%` })
    fill(this._recovery, h('span', {}, text), h('div', { class: `wfr-bar wfr-bar-wide ${part === null ? 'wfr-unknown' : ''}` }, bar))
  }

  _showAsking(asking) {
    this._asking.hidden = !asking
    if (!asking || this._asking.dataset.count === String(asking)) return
    this._asking.dataset.count = asking
    const text = asking === 1 ? t('1 prompt waits for your decision') : t('{n} prompts wait for your decision', { n: numberText(asking) })
    fill(this._asking, icon('question-circle'), h('span', {}, text), button({ hook: 'review', label: t('Review'), onclick: () => this._page.preview.open() }))
  }

  _showBulk({ tasks, feishu }) {
    const wanted = { retry: tasks[STATUS.failed] > 0, push: feishu.blocked > 0 && feishu.configured }
    const key = JSON.stringify([wanted, feishu.blocked])
    if (this._bulk.dataset.shows === key) return
    this._bulk.dataset.shows = key
    fill(
      this._bulk,
      wanted.retry && button({ hook: 'bulk-retry', label: t('Retry all failed'), iconName: 'refresh', onclick: () => this._actOnAll('retry', { status: STATUS.failed, stage: 'failed' }) }),
      wanted.push && button({ hook: 'bulk-push', label: t('Push all blocked ({n})', { n: numberText(feishu.blocked) }), iconName: 'cloud-upload', onclick: () => this._actOnAll('push', { feishu: 'blocked' }) }),
    )
  }

  _showConnection() {
    const { connection, status } = this._page.state
    const usable = connection !== CONNECTION.missing && connection !== CONNECTION.older
    this._main.hidden = !usable
    this._setup.element.hidden = !usable
    this._recover.disabled = connection !== CONNECTION.online || status?.recovery.state === 'running'
    this.element.classList.toggle('wfr-offline', connection === CONNECTION.offline)
    this._owners.element.classList.toggle('wfr-gone-with-server', !usable)
    this._banners.show(connection, status)
  }

  _showList() {
    const { total } = this._page.pages
    const empty = total === 0
    this._list.element.hidden = empty
    this._empty.hidden = !empty
    if (empty) this._showEmpty()
    this._list.draw()
    if (total !== null && total !== this._told && this._filters.isFiltered) this._say(t('Matching tasks: {n}', { n: numberText(total) }))
    this._told = total
  }

  _showEmpty() {
    const filtered = this._filters.isFiltered
    const key = filtered ? 'filtered' : 'none'
    if (this._empty.dataset.shows === key) return
    this._empty.dataset.shows = key
    if (filtered) {
      const all = button({ label: t('Show all'), onclick: () => this._filters.choose({ status: '', workflow: '', q: '' }) })
      fill(this._empty, icon('search'), h('p', {}, t('No task matches.')), all)
    } else {
      fill(this._empty, icon('history'), h('p', {}, t('No tasks yet.')), h('p', { class: 'wfr-muted' }, t('Every prompt you queue appears here, and is kept safe until it is done.')))
    }
  }

  _say(text) {
    setText(this._live, text)
  }

  /** A sentence above the list about what was just done, or went wrong. */
  _note(text, bad = false) {
    clearTimeout(this._noteTimer)
    this._notice.classList.toggle('wfr-bad-notice', bad)
    this._notice.hidden = !text
    fill(this._notice, h('span', { class: 'wfr-pre' }, text), button({ label: '✕', kind: 'wfr-quiet wfr-close', title: t('Close'), onclick: () => this._note('') }))
    if (text && !bad) this._noteTimer = setTimeout(() => this._note(''), 6000)
  }

  // ---------------------------------------------------------------- what the user does

  async _filter(query) {
    const asked = this._page.pages.setFilter(query)
    this._list.reset()
    try {
      await asked
    } catch (error) {
      this._failed(error)
    }
  }

  get _isOpen() {
    return this._main.firstChild === this._detail.element
  }

  _open(record) {
    this._note('')
    this._scrolled = this._list.element.scrollTop
    fill(this._main, this._detail.element)
    this._detail.open(record)
    this._reload(record.task_id)
  }

  _back() {
    fill(this._main, this._browse)
    this._list.element.scrollTop = this._scrolled
    this._list.draw()
    this._list.focus()
  }

  async _act(record, action) {
    if (action === 'output') return this._page.openOutput(record)
    const asked = { write: 'write', adopt: 'adopt', leave: 'leave', again: 'retry' }[action]
    if (asked) return this._decisions.ask(record, asked)
    await this._try(async () => {
      const changed = await this._page.routes.act(record.task_id, action)
      const cancelled = isFinal(changed) ? t('Cancelled.') : t('Being cancelled…')
      this._changed(changed, { retry: t('Queued again.'), push: t('It will be written again.'), cancel: cancelled }[action])
    })
  }

  _changed(record, said) {
    this._takeTasks([record])
    this._say(said)
  }

  /** How many tasks those were. */
  async _takeOver(boot) {
    const { taken_over: taken } = await this._page.routes.takeOver(boot)
    this._refreshSoon()
    this._page.state.load()
    return taken
  }

  async _actOnAll(action, filter) {
    await this._try(async () => {
      const { done, refused } = await this._page.routes.actOnAll(action, { filter })
      const reasons = Object.entries(refused)
      const said = action === 'retry' ? t('Queued again: {n}', { n: done.length }) : t('To be written again: {n}', { n: done.length })
      const [first] = reasons
      const more = first ? `\n${t('Not possible: {n}', { n: reasons.length })} (${first[0]}: ${first[1]})` : ''
      this._note(said + more, reasons.length > 0)
      this._refreshSoon()
    })
  }

  async _try(action) {
    try {
      await action()
    } catch (error) {
      this._failed(error)
    }
  }

  _failed(error) {
    if (error.name === 'AbortError' || this._page.state.trouble(error)) return
    this._note(error.message, true)
  }
}
