/** One task's whole story: what it is, where it stands, what happened, its files and its graph. */

import { button, fill, h, icon, setText } from './dom.mjs'
import { fileList, foundList, resultPart } from './results.mjs'
import { isAttended, waitsElsewhere, whoseText } from '../owners.mjs'
import { serverLanguage, t } from '../texts.mjs'
import { progressText } from './row.mjs'
import {
  actionsOf,
  durationText,
  errorText,
  feishuOf,
  feishuReason,
  isCancelling,
  isGone,
  pushText,
  resultsOf,
  retryText,
  stageOf,
  stageText,
  storyNote,
  storyText,
  timeText,
  titleOf,
  whoDelivers,
  workflowText,
} from '../words.mjs'

/** Reasons that are told in full; a folder that was emptied would give hundreds. */
const REASONS = 3

export class TaskDetail {
  /** `onBack()`, `onAction(record, action)`, `onLoadWorkflow(record)`, `onTrouble(error)`. */
  constructor({ state, routes, onBack, onAction, onLoadWorkflow, onTrouble }) {
    this._state = state
    this._routes = routes
    this._onBack = onBack
    this._onAction = onAction
    this._onLoadWorkflow = onLoadWorkflow
    this._onTrouble = onTrouble
    this._title = h('h2', { class: 'wfr-detail-title', tabindex: '-1', translate: 'no' })
    this._stage = h('span', { class: 'wfr-stage' })
    this._body = h('div', { class: 'wfr-detail-body' })
    this.element = h(
      'section',
      {
        class: 'wfr-detail',
        'data-wfr': 'detail',
        'aria-label': t('Task'),
        onkeydown: (event) => {
          if (event.key !== 'Escape') return
          event.preventDefault()
          event.stopPropagation()
          this._onBack()
        },
      },
      h(
        'div',
        { class: 'wfr-detail-head' },
        button({ hook: 'back', label: t('Back'), iconName: 'arrow-left', kind: 'wfr-quiet', onclick: () => this._onBack() }),
        this._stage,
      ),
      this._title,
      this._body,
    )
  }

  get taskId() {
    return this.element.dataset.taskId
  }

  /** Show a task from the start. */
  open(record) {
    this._graph = null
    this._told = []
    this._build(record)
    this._title.focus()
    this._askForResults()
  }

  /** The task has changed. */
  update(record) {
    if (record.revision === this._record.revision) return
    // Rendered again: what was told was about other files.
    if (record.metadata?.finished_at !== this._record.metadata?.finished_at) this._told = []
    this._rebuild(record)
    this._askForResults()
  }

  /** Back to the button of an action, where it is still offered. */
  focusOn(action) {
    (this._body.querySelector(`[data-wfr="action-${action}"]`) ?? this._title).focus()
  }

  /** Who is at work on it, or whether that one lives, has changed. */
  updateOwner() {
    if (whoseText(this._record, this._state.status) !== this._whose) this._rebuild(this._record)
  }

  /** Whether the files are still this task's: asked each time, for that changes without the task. */
  async _askForResults() {
    const record = this._record
    if (!resultsOf(record).length) return
    let told
    try {
      told = (await this._routes.results(record.task_id, serverLanguage())).results
    } catch (error) {
      if (error.status !== 404) this._onTrouble(error) // 404: the task itself is gone, or the server is older
      return
    }
    if (this._record !== record) return // what is shown now has asked for itself
    const same = JSON.stringify(told.filter(isGone)) === JSON.stringify(this._told.filter(isGone))
    this._told = told
    if (!same) this._rebuild(record)
  }

  /** Draw it anew; what is scrolled, opened and focused stays. */
  _rebuild(record) {
    const focusedHook = this._body.contains(document.activeElement) && document.activeElement.dataset.wfr
    const scrolled = this._body.scrollTop
    const opened = this._body.querySelector('.wfr-graph')?.open
    this._build(record)
    if (opened) this._body.querySelector('.wfr-graph').open = true
    this._body.scrollTop = scrolled
    if (focusedHook) (this._body.querySelector(`[data-wfr="${focusedHook}"]`) ?? this._title).focus()
  }

  /** Live progress of the shown task. */
  progress() {
    const progress = this._state.progress.get(this.taskId)
    const running = stageOf(this._record) === 'running' && isAttended(this._record, this._state.status)
    this._bar.hidden = !running
    if (!running) return
    const known = progress?.max > 0
    this._bar.classList.toggle('wfr-unknown', !known)
    this._bar.firstChild.style.width = known ? `${Math.min(100, (100 * progress.value) / progress.max)}%` : ''
    setText(this._progressText, progressText(progress))
  }

  _build(record) {
    this._record = record
    this.element.dataset.taskId = record.task_id
    this.element.dataset.stage = stageOf(record)
    this.element.dataset.feishu = feishuOf(record).state
    setText(this._title, titleOf(record))
    setText(this._stage, stageText(record))
    this._bar = h('div', { class: 'wfr-bar wfr-bar-wide', hidden: true }, h('div', { class: 'wfr-bar-fill' }))
    this._progressText = h('div', { class: 'wfr-muted' })
    fill(
      this._body,
      this._bar,
      this._progressText,
      this._whosePart(record),
      this._problems(record),
      this._actions(record),
      resultPart(record, this._told, { routes: this._routes, onOpen: () => this._onAction(record, 'output') }),
      foundList(record, this._routes),
      this._facts(record),
      fileList(record, this._told, this._routes),
      this._story(record),
      this._graphPart(record),
    )
    this.progress()
  }

  /** Where it is, if not here. */
  _whosePart(record) {
    const { status } = this._state
    this._whose = whoseText(record, status)
    if (!this._whose) return null
    const elsewhere = waitsElsewhere(record, status)
    return h(
      'div',
      { class: isAttended(record, status) ? 'wfr-whose' : 'wfr-whose wfr-unattended', 'data-wfr': 'whose' },
      icon(elsewhere ? 'sitemap' : 'desktop'),
      h('div', {}, h('span', {}, this._whose), elsewhere && h('p', { class: 'wfr-muted' }, t('This ComfyUI refused its workflow. Another one that works in the same folder may run it.'))),
    )
  }

  _problems(record) {
    const stage = stageOf(record)
    const parts = []
    if (errorText(record) && stage === 'asking') parts.push([t('Why it waits for you'), errorText(record)])
    if (errorText(record) && (stage === 'failed' || stage === 'cancelled')) parts.push([t('Why it failed'), errorText(record)])
    if (stage === 'cancelled' && parts.length) parts[0][0] = t('Why it was cancelled')
    if (feishuReason(record)) parts.push([t('Why it is not in the sheet'), feishuReason(record)])
    const gone = stage === 'finished' ? this._whyGone(record) : []
    if (gone.length) parts.push([t('Not all its files can be shown'), ...gone])
    if (record.metadata?.error_message) parts.push([t('Why it belongs to no row'), record.metadata.error_message])
    return parts.map(([heading, ...texts]) =>
      h('div', { class: 'wfr-problem' }, h('strong', {}, heading), texts.map((text) => h('p', { class: 'wfr-pre' }, text))),
    )
  }

  /** The first reasons, without one that is given for the sheet already. */
  _whyGone(record) {
    const reasons = [...new Set(this._told.filter(isGone).map(({ reason }) => reason))].filter((reason) => reason !== feishuReason(record))
    const more = reasons.length - REASONS
    return [...reasons.slice(0, REASONS), ...(more > 0 ? [t('… and {n} more', { n: more })] : [])]
  }

  _actions(record) {
    const can = actionsOf(record, this._told)
    const act = (action) => () => this._onAction(record, action)
    // Where only the sheet is in the way, rendering again is the last thing to try, and asked about.
    const last = stageOf(record) === 'finished' && !this._told.some(isGone)
    const retry = can.retry && button({ hook: 'action-retry', label: retryText(record), iconName: 'refresh', kind: last ? '' : 'wfr-primary', onclick: act(last ? 'again' : 'retry') })
    return h(
      'div',
      { class: 'wfr-buttons', role: 'group', 'aria-label': t('What can be done') },
      !last && retry,
      can.push && button({ hook: 'action-push', label: pushText(record), iconName: 'cloud-upload', onclick: act('push') }),
      can.write && button({ hook: 'action-write', label: t('Write it there anyway'), iconName: 'table', onclick: act('write') }),
      can.adopt && button({ hook: 'action-adopt', label: t('Choose its file'), iconName: 'file', onclick: act('adopt') }),
      last && retry,
      can.leave && button({ hook: 'action-leave', label: t('Leave it'), iconName: 'ban', onclick: act('leave') }),
      can.cancel &&
        button({ hook: 'action-cancel', label: isCancelling(record) ? t('Being cancelled…') : t('Cancel'), iconName: 'times', onclick: act('cancel'), off: isCancelling(record) }),
      can.output && button({ hook: 'action-output', label: t('Open output'), iconName: 'external-link', onclick: act('output') }),
      button({
        hook: 'action-workflow',
        label: t('Load workflow'),
        iconName: 'sitemap',
        onclick: () => this._onLoadWorkflow(record),
      }),
    )
  }

  _facts(record) {
    const { metadata = {} } = record
    const feishu = feishuOf(record)
    const facts = [
      [t('Row'), record.row_number],
      [t('Product'), record.product_name],
      [t('Model'), record.model_name],
      [t('Workflow'), workflowText(record.workflow_type)],
      [t('Feishu'), whoDelivers(record)],
      [t('Written'), feishu.state === 'pushed' && timeText(feishu.pushed_at)],
      [t('Next try'), feishu.state === 'pending' && timeText(feishu.next_try_at)],
      [t('Attempts'), metadata.attempts],
      [t('Recorded'), timeText(record.created_at)],
      [t('Started'), timeText(metadata.processing_start_time)],
      [t('Ended'), timeText(metadata.finished_at)],
      [t('Took'), metadata.finished_at && durationText(metadata.processing_start_time, metadata.finished_at)],
      [t('Task'), h('code', {}, record.task_id)],
      [t('Prompt'), record.comfyui_task_id && h('code', {}, record.comfyui_task_id)],
    ]
    return h(
      'dl',
      { class: 'wfr-facts-list' },
      facts.filter(([, value]) => value).flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]),
    )
  }

  _story(record) {
    const story = record.metadata?.story ?? []
    if (!story.length) return null
    const entry = (line) => {
      const { at, what, node, attempt } = line
      return h(
        'li',
        { 'data-what': what },
        h('span', { class: 'wfr-story-what' }, [storyText(what), attempt > 1 && t('attempt {n}', { n: attempt }), node].filter(Boolean).join(' · ')),
        h('time', { class: 'wfr-time', datetime: at }, timeText(at)),
        line.text && h('div', { class: 'wfr-muted wfr-pre' }, storyNote(line)),
      )
    }
    return [h('h3', {}, t('What happened')), h('ol', { class: 'wfr-story', 'data-wfr': 'story' }, story.map(entry))]
  }

  _graphPart(record) {
    const list = h('div', { class: 'wfr-graph-nodes' }, this._graph && graphNodes(this._graph))
    return h(
      'details',
      {
        class: 'wfr-graph',
        ontoggle: async (event) => {
          if (!event.target.open || this._graph) return
          fill(list, h('span', { class: 'wfr-muted' }, t('Loading…')))
          try {
            const { prompt } = await this._routes.graph(record.task_id)
            if (this.taskId === record.task_id) this._graph = prompt
            fill(list, graphNodes(prompt))
          } catch (error) {
            if (!this._state.trouble(error)) fill(list, h('span', { class: 'wfr-muted' }, error.message))
          }
        },
      },
      h('summary', {}, icon('sitemap'), ' ', t('Graph')),
      list,
    )
  }
}

/** The nodes of a prompt and their inputs, as a plain list. */
function graphNodes(prompt) {
  const input = ([name, value]) =>
    `${name}: ${Array.isArray(value) ? `← ${value[0]}` : String(value).slice(0, 200)}`
  return h(
    'ul',
    { class: 'wfr-nodes' },
    Object.entries(prompt).map(([id, node]) =>
      h(
        'li',
        {},
        h('span', { class: 'wfr-node-id' }, `#${id}`),
        ' ',
        h('strong', {}, node?._meta?.title || node?.class_type || '?'),
        node?._meta?.title && node._meta.title !== node.class_type && h('span', { class: 'wfr-muted' }, ` ${node.class_type}`),
        h('div', { class: 'wfr-muted wfr-pre' }, Object.entries(node?.inputs ?? {}).map(input).join('\n')),
      ),
    ),
  )
}
