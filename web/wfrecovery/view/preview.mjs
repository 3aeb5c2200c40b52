/** After a crash: the prompts that have no row, to be ticked before anything is queued again. Once per start of ComfyUI. */

import { button, fill, h, setText } from './dom.mjs'
import { fileThumbnail } from './thumbnail.mjs'
import { t } from '../texts.mjs'
import { agoText, foundOf, timeText } from '../words.mjs'

const SEEN = 'wfrecovery.previewed'
/** So many of the files that a prompt made before are shown beside it. */
const FILES = 2

export class Preview {
  /** `onDone(message)` when something was decided. */
  constructor({ state, routes, storage, onDone }) {
    this._state = state
    this._routes = routes
    this._storage = storage
    this._onDone = onDone
  }

  /** Show it where prompts wait and this start of ComfyUI has not shown it yet. */
  async offer() {
    const { status } = this._state
    if (!status || this._state.connection !== 'online') return
    if (status.recovery.state !== 'idle' || !(status.stages?.asking ?? status.recovery.asking)) return
    if (this._storage.getItem(SEEN) === status.boot_id || this._loading) return
    await this.open()
  }

  /** Show it now. */
  async open() {
    if (this._dialog?.open || this._loading) return
    this._loading = true
    try {
      const { boot_id: bootId, tasks } = await this._routes.preview()
      this._storage.setItem(SEEN, bootId)
      if (tasks.length) this._show(tasks)
    } catch (error) {
      if (!this._state.trouble(error)) this._onDone({ error: error.message })
    } finally {
      this._loading = false
    }
  }

  close() {
    this._dialog?.close()
  }

  _show(tasks) {
    this._list = h('ul', { class: 'wfr-preview-list' })
    this._chosen = h('span', { class: 'wfr-muted', 'aria-live': 'polite' })
    this._queue = button({ hook: 'preview-queue', label: t('Queue selected'), iconName: 'play', kind: 'wfr-primary', onclick: () => this._decide('retry') })
    this._discard = button({ hook: 'preview-discard', label: t('Discard selected'), iconName: 'trash', onclick: () => this._decide('cancel') })
    this._error = h('p', { class: 'wfr-problem', role: 'alert', hidden: true })
    const all = h('input', { type: 'checkbox', onchange: () => this._tickAll(all.checked) })
    this._all = all
    const later = button({ hook: 'preview-close', label: t('Decide later'), kind: 'wfr-quiet', onclick: () => this.close() })
    this._dialog = h(
      'dialog',
      {
        class: 'wfr-root wfr-preview',
        'data-wfr': 'preview',
        'aria-labelledby': 'wfr-preview-title',
        // keys typed here are not meant for ComfyUI's shortcuts; Escape closes, as in every dialog
        onkeydown: (event) => event.stopPropagation(),
        onclose: () => this._dialog.remove(),
      },
      h('h2', { id: 'wfr-preview-title' }, t('ComfyUI ended with prompts in its queue')),
      h('p', { class: 'wfr-muted' }, t('They have no row in a sheet. Nothing is queued again before you say so.')),
      h('label', { class: 'wfr-tick wfr-tick-all' }, all, h('span', {}, t('All')), this._chosen),
      this._list,
      this._error,
      h('div', { class: 'wfr-buttons wfr-preview-buttons' }, this._queue, this._discard, later),
    )
    document.body.append(this._dialog)
    this._fill(tasks)
    this._dialog.showModal()
    this._queue.focus()
  }

  _fill(tasks) {
    this._boxes = []
    fill(this._list, tasks.map((task) => this._entry(task)))
    this._ticked()
  }

  _entry(task) {
    const box = h('input', { type: 'checkbox', checked: true, value: task.task_id, onchange: () => this._ticked() })
    this._boxes.push(box)
    const attempts = task.metadata?.attempts ?? 0
    const facts = [
      agoText(task.created_at),
      attempts ? t('attempts: {n}', { n: attempts }) : t('not started yet'),
      // a whole result would have been taken: it is a part of it, or nobody can tell
      task.result_there ? t('files that it made are on disk') : t('no result on disk'),
    ]
    return h(
      'li',
      { 'data-wfr': 'preview-task', 'data-task-id': task.task_id },
      h(
        'label',
        { class: 'wfr-tick' },
        box,
        foundOf(task).slice(0, FILES).map((file) => fileThumbnail(file, this._routes)),
        h(
          'span',
          { class: 'wfr-tick-text' },
          h('span', { class: 'wfr-title', translate: 'no' }, task.title || task.task_id),
          h('span', { class: 'wfr-muted', title: timeText(task.created_at) }, facts.filter(Boolean).join(' · ')),
        ),
      ),
    )
  }

  _tickAll(checked) {
    for (const box of this._boxes) box.checked = checked
    this._ticked()
  }

  _ticked() {
    const chosen = this._boxes.filter((box) => box.checked).length
    setText(this._chosen, t('{n} of {total} selected', { n: chosen, total: this._boxes.length }))
    this._all.checked = chosen === this._boxes.length
    this._all.indeterminate = chosen > 0 && chosen < this._boxes.length
    for (const control of [this._queue, this._discard]) control.disabled = !chosen
  }

  async _decide(action) {
    const ids = this._boxes.filter((box) => box.checked).map((box) => box.value)
    for (const control of [this._queue, this._discard]) control.disabled = true
    try {
      const { done, refused } = await this._routes.actOnAll(action, { task_ids: ids })
      this._forget(done)
      const reasons = Object.values(refused)
      if (reasons.length) this._complain(reasons.join('\n'))
      this._onDone({ action, done: done.length })
      if (!this._boxes.length) await this._goOn()
    } catch (error) {
      this._complain(error.message)
    }
    if (this._dialog.open) this._ticked()
  }

  /** The server shows the first few hundred; the rest follows when these are decided. */
  async _goOn() {
    const { tasks } = await this._routes.preview()
    if (tasks.length) this._fill(tasks)
    else this.close()
  }

  /** Take out what is decided; the rest stays for another decision. */
  _forget(ids) {
    for (const box of this._boxes.filter((box) => ids.includes(box.value))) box.closest('li').remove()
    this._boxes = this._boxes.filter((box) => !ids.includes(box.value))
  }

  _complain(text) {
    fill(this._error, text)
    this._error.hidden = false
  }
}
