/** One task in the list. */

import { fill, h, icon, setText } from './dom.mjs'
import { showThumbnail } from './thumbnail.mjs'
import { isAttended, whoseNote, whoseText } from '../owners.mjs'
import { t } from '../texts.mjs'
import {
  agoText,
  durationText,
  errorText,
  feishuOf,
  feishuReason,
  feishuText,
  stageOf,
  stageText,
  timeText,
  titleOf,
  workflowText,
} from '../words.mjs'

/** An option of the list, used again for other tasks as the list scrolls. */
export class TaskRow {
  constructor(routes) {
    this._routes = routes
    this._thumbnail = h('div', { class: 'wfr-thumbnail' })
    this._title = h('span', { class: 'wfr-title', translate: 'no' })
    this._time = h('span', { class: 'wfr-time' })
    this._stage = h('span', { class: 'wfr-stage' })
    this._kind = h('span', { class: 'wfr-kind' })
    this._attempts = h('span', { class: 'wfr-attempts' })
    this._feishu = h('span', { class: 'wfr-feishu' })
    this._note = h('div', { class: 'wfr-note' })
    this._bar = h('div', { class: 'wfr-bar-fill' })
    this._progress = h('div', { class: 'wfr-bar', 'data-wfr': 'task-progress', hidden: true }, this._bar)
    this.element = h(
      'div',
      { class: 'wfr-task', role: 'option' },
      this._thumbnail,
      h(
        'div',
        { class: 'wfr-task-text' },
        h('div', { class: 'wfr-line' }, this._title, this._feishu),
        h('div', { class: 'wfr-line wfr-facts' }, this._stage, this._attempts, this._kind, this._time),
        this._note,
      ),
      this._progress,
    )
  }

  /** Show `record` at `position` of `total`; without a record, that it is being loaded. */
  show(record, { position, total, progress, active, status }) {
    const { element } = this
    element.id = `wfr-task-${position}`
    element.setAttribute('aria-posinset', position + 1)
    element.setAttribute('aria-setsize', total)
    element.setAttribute('aria-selected', active)
    element.classList.toggle('wfr-active', active)
    element.classList.toggle('wfr-loading', !record)
    if (!record) return this._showLoading()
    const stage = stageOf(record)
    element.dataset.wfr = 'task'
    element.dataset.taskId = record.task_id
    element.dataset.stage = stage
    element.dataset.feishu = feishuOf(record).state
    showThumbnail(this._thumbnail, record, this._routes)
    setText(this._title, titleOf(record))
    this._title.title = `${titleOf(record)}\n${record.task_id}`
    setText(this._time, agoText(record.created_at))
    this._time.title = timeText(record.created_at)
    setText(this._stage, stageText(record))
    setText(this._kind, record.row_number ? workflowText(record.workflow_type) : '')
    const attempts = record.metadata?.attempts ?? 0
    setText(this._attempts, attempts > 1 ? t('{n} attempts', { n: attempts }) : '')
    this._showFeishu(record)
    this._showNote(record, progress, whoseNote(record, status), whoseText(record, status))
    this._showProgress(record, progress, status)
    this.element.classList.toggle('wfr-unattended', !isAttended(record, status))
  }

  _showLoading() {
    delete this.element.dataset.wfr
    delete this.element.dataset.taskId
    delete this._thumbnail.dataset.shows
    this._feishu.title = ''
    for (const part of [this._thumbnail, this._title, this._time, this._stage, this._kind, this._attempts, this._feishu, this._note]) fill(part)
    this._progress.hidden = true
  }

  /** An icon with a word beside it, of which a narrow panel shows the icon alone. */
  _showFeishu(record) {
    const text = feishuText(record)
    if (this._feishu.title === text) return
    this._feishu.title = text
    fill(this._feishu, text && [icon(FEISHU_ICON[feishuOf(record).state]), h('span', {}, text)])
  }

  /** The third line: what is wrong, what runs, where it is if not here, or how long it took. */
  _showNote(record, progress, whose, wholly) {
    const reason = feishuReason(record)
    const error = errorText(record)
    let text = ''
    if (whose) text = whose
    else if (stageOf(record) === 'running') text = progressText(progress)
    else if (stageOf(record) === 'failed' || stageOf(record) === 'cancelled') text = error
    else if (reason) text = reason
    else if (record.metadata?.finished_at && record.metadata.processing_start_time) {
      const took = durationText(record.metadata.processing_start_time, record.metadata.finished_at)
      text = took && t('Took {time}', { time: took })
    }
    setText(this._note, text)
    this._note.title = whose ? wholly : text
  }

  _showProgress(record, progress, status) {
    const running = stageOf(record) === 'running' && isAttended(record, status)
    this._progress.hidden = !running
    if (!running) return
    const known = progress?.max > 0
    this._progress.classList.toggle('wfr-unknown', !known)
    this._bar.style.width = known ? `${Math.min(100, (100 * progress.value) / progress.max)}%` : ''
    if (known) this._progress.dataset.value = `${progress.value}/${progress.max}`
    else delete this._progress.dataset.value
  }
}

const FEISHU_ICON = { pending: 'cloud-upload', pushed: 'check-circle', blocked: 'exclamation-triangle', off: 'desktop' }

/** "KSampler 12/20" */
export function progressText(progress) {
  if (!progress?.max) return ''
  const node = progress.node && !/^\d+$/.test(progress.node) ? `${progress.node} ` : ''
  return `${node}${progress.value}/${progress.max}`
}
