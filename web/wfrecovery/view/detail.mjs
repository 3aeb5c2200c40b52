/** One task's whole story: what it is, where it stands, what happened, its files and its graph. */

import { button, fill, h, icon, setText } from './dom.mjs'
import { showThumbnail } from './thumbnail.mjs'
import { t, worded } from '../texts.mjs'
import { progressText } from './row.mjs'
import {
  actionsOf,
  durationText,
  errorText,
  feishuOf,
  feishuReason,
  feishuText,
  isPicture,
  isVideo,
  outputsOf,
  stageOf,
  stageText,
  storyText,
  timeText,
  titleOf,
  workflowText,
} from '../words.mjs'

export class TaskDetail {
  /** `onBack()`, `onAction(record, action)`, `onLoadWorkflow(record)`. */
  constructor({ state, routes, onBack, onAction, onLoadWorkflow }) {
    this._state = state
    this._routes = routes
    this._onBack = onBack
    this._onAction = onAction
    this._onLoadWorkflow = onLoadWorkflow
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
    this._build(record)
    this._title.focus()
  }

  /** The task has changed; what is scrolled, opened and focused stays. */
  update(record) {
    if (record.revision === this._record.revision) return
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
    const running = stageOf(this._record) === 'running'
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
      this._problem(record),
      this._actions(record),
      this._picture(record),
      this._facts(record),
      this._files(record),
      this._story(record),
      this._graphPart(record),
    )
    this.progress()
  }

  _problem(record) {
    const stage = stageOf(record)
    const parts = []
    if (errorText(record) && (stage === 'failed' || stage === 'cancelled')) parts.push([t('Why it failed'), errorText(record)])
    if (stage === 'cancelled' && parts.length) parts[0][0] = t('Why it was cancelled')
    if (feishuReason(record)) parts.push([t('Why it is not in the sheet'), feishuReason(record)])
    if (record.metadata?.error_message) parts.push([t('Why it belongs to no row'), record.metadata.error_message])
    return parts.map(([heading, text]) =>
      h('div', { class: 'wfr-problem' }, h('strong', {}, heading), h('p', { class: 'wfr-pre' }, text)),
    )
  }

  _actions(record) {
    const can = actionsOf(record)
    const act = (action) => () => this._onAction(record, action)
    return h(
      'div',
      { class: 'wfr-buttons', role: 'group', 'aria-label': t('What can be done') },
      can.retry && button({ hook: 'action-retry', label: t('Retry'), iconName: 'refresh', kind: 'wfr-primary', onclick: act('retry') }),
      can.push && button({ hook: 'action-push', label: t('Push again'), iconName: 'cloud-upload', onclick: act('push') }),
      can.cancel && button({ hook: 'action-cancel', label: t('Cancel'), iconName: 'times', onclick: act('cancel') }),
      can.output && button({ hook: 'action-output', label: t('Open output'), iconName: 'external-link', onclick: act('output') }),
      button({
        hook: 'action-workflow',
        label: t('Load workflow'),
        iconName: 'sitemap',
        onclick: () => this._onLoadWorkflow(record),
      }),
    )
  }

  _picture(record) {
    const [first] = outputsOf(record)
    if (!first || stageOf(record) !== 'finished' || !(isPicture(first) || isVideo(first))) return null
    if (isVideo(first)) {
      return h('video', { class: 'wfr-result', controls: true, preload: 'metadata', src: this._routes.fileUrl(first), 'aria-label': t('Result') })
    }
    const frame = h('button', {
      type: 'button',
      class: 'wfr-result wfr-result-picture',
      'aria-label': t('Open output'),
      onclick: () => this._onAction(record, 'output'),
    })
    showThumbnail(frame, record, this._routes)
    return frame
  }

  _facts(record) {
    const { metadata = {} } = record
    const feishu = feishuOf(record)
    const facts = [
      [t('Row'), record.row_number],
      [t('Product'), record.product_name],
      [t('Model'), record.model_name],
      [t('Workflow'), workflowText(record.workflow_type)],
      [t('Feishu'), feishuText(record)],
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

  _files(record) {
    const files = outputsOf(record)
    if (!files.length) return null
    const link = (path) =>
      h('li', {}, h('a', { href: this._routes.fileUrl(path), target: '_blank', rel: 'noopener' }, path))
    return [h('h3', {}, t('Files')), h('ul', { class: 'wfr-files' }, files.map(link))]
  }

  _story(record) {
    const story = record.metadata?.story ?? []
    if (!story.length) return null
    const entry = ({ at, what, text, text_zh: chinese, node, attempt }) =>
      h(
        'li',
        { 'data-what': what },
        h('span', { class: 'wfr-story-what' }, [storyText(what), attempt > 1 && t('attempt {n}', { n: attempt }), node].filter(Boolean).join(' · ')),
        h('time', { class: 'wfr-time', datetime: at }, timeText(at)),
        text && h('div', { class: 'wfr-muted wfr-pre' }, worded(text, chinese)),
      )
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
