/** A record in words: what people read about a task, without any markup. */

import { currentLanguage, t, worded } from './texts.mjs'

export const STATUS = { inProgress: '在处理中', completed: '已完成', failed: '失败' }

/** The server's status values, in the order in which they are shown. */
export const STATUSES = Object.values(STATUS)

/** Workflow types of the filter; `other` are prompts without a row. */
export const WORKFLOW_TYPES = ['图片合成', '图生视频', 'other']

export function statusText(status) {
  return { [STATUS.inProgress]: t('In progress'), [STATUS.completed]: t('Completed'), [STATUS.failed]: t('Failed') }[status] ?? status
}

export function workflowText(type) {
  return (
    { 图片合成: t('Image composition'), 图生视频: t('Image to video'), other: t('Without a row') }[type ?? 'other'] ?? type
  )
}

export function stageOf(record) {
  return record.metadata?.stage ?? 'created'
}

export function stageText(record) {
  const stage = stageOf(record)
  switch (stage) {
    case 'created':
      return t('Not sent yet')
    case 'queued':
      return t('Waiting in the queue')
    case 'running':
      return t('Rendering')
    case 'asking':
      return t('Waits for your decision')
    case 'finished':
      return t('Finished')
    case 'failed':
      return t('Failed')
    case 'cancelled':
      return t('Cancelled')
    default:
      return stage
  }
}

export function titleOf(record) {
  const names = [record.product_name, record.model_name].filter(Boolean)
  if (record.row_number) return [t('Row {row}', { row: record.row_number }), ...names].join(' · ')
  return record.title || record.metadata?.title || [record.task_id, ...names].join(' · ')
}

export function feishuOf(record) {
  return record.metadata?.feishu ?? { state: 'off' }
}

/** Where the result is on its way to the sheet; empty when it does not go there. */
export function feishuText(record) {
  const feishu = feishuOf(record)
  switch (feishu.state) {
    case 'pending':
      return isFinal(record) ? t('Waiting for Feishu') : ''
    case 'pushed':
      return t('In the sheet')
    case 'blocked':
      return t('Not in the sheet')
    default:
      return ''
  }
}

/** Why it is not in the sheet yet, in the reader's language. */
export function feishuReason(record) {
  const { last_error: english, last_error_zh: chinese, state } = feishuOf(record)
  return state === 'pushed' ? '' : worded(english, chinese)
}

export function errorText(record) {
  return record.error_message ? worded(record.error_message, record.metadata?.error_message_zh) : ''
}

export function isFinal(record) {
  return ['finished', 'failed', 'cancelled'].includes(stageOf(record))
}

/** What can be done with a task now. */
export function actionsOf(record) {
  const stage = stageOf(record)
  return {
    retry: ['failed', 'cancelled', 'asking'].includes(stage),
    cancel: ['created', 'queued', 'running', 'asking'].includes(stage),
    push: isFinal(record) && ['blocked', 'pending', 'pushed'].includes(feishuOf(record).state),
    output: outputsOf(record).length > 0,
  }
}

export function outputsOf(record) {
  return record.output_files ?? []
}

export function isVideo(path) {
  return /\.(mp4|webm|mov|mkv|avi|m4v)$/i.test(path)
}

export function isPicture(path) {
  return /\.(png|jpe?g|webp|gif|bmp|avif|tiff?)$/i.test(path)
}

/** What happened, as one entry of a task's story says it. */
export function storyText(what) {
  return (
    {
      entered: t('Entered'),
      queued: t('Queued'),
      started: t('Rendering began'),
      lost: t('Lost: ComfyUI ended'),
      queued_again: t('Queued again'),
      retried: t('Queued again by hand'),
      adopted: t('Result found on disk and taken over'),
      finished: t('Finished'),
      failed: t('Failed'),
      cancelled: t('Cancelled'),
      pushed: t('Written into the sheet'),
      blocked: t('Could not be written into the sheet'),
      push_again: t('To be written into the sheet again'),
    }[what] ?? what
  )
}

// ---------------------------------------------------------------- times and numbers

/** "3 minutes ago"; the date once it is older than a week. */
export function agoText(iso, now = Date.now()) {
  const then = Date.parse(iso)
  if (Number.isNaN(then)) return ''
  const seconds = Math.round((then - now) / 1000)
  const steps = [
    [60, 1, 'second'],
    [3600, 60, 'minute'],
    [86400, 3600, 'hour'],
    [604800, 86400, 'day'],
  ]
  const step = steps.find(([limit]) => Math.abs(seconds) < limit)
  if (!step) return new Intl.DateTimeFormat(currentLanguage(), { dateStyle: 'medium' }).format(then)
  if (step[2] === 'second' && Math.abs(seconds) < 10) return t('just now')
  return new Intl.RelativeTimeFormat(currentLanguage(), { numeric: 'auto', style: 'short' }).format(
    Math.trunc(seconds / step[1]),
    step[2],
  )
}

export function timeText(iso) {
  const then = Date.parse(iso)
  if (Number.isNaN(then)) return ''
  return new Intl.DateTimeFormat(currentLanguage(), { dateStyle: 'medium', timeStyle: 'medium' }).format(then)
}

/** The time between two times as "2.5 sec", "1:05" or "1:02:05". */
export function durationText(from, to) {
  const exact = (Date.parse(to) - Date.parse(from)) / 1000
  if (!(exact >= 0)) return ''
  const seconds = Math.round(exact)
  if (seconds < 60) {
    const digits = exact < 10 ? 1 : 0
    const unit = { style: 'unit', unit: 'second', unitDisplay: 'short', maximumFractionDigits: digits }
    return new Intl.NumberFormat(currentLanguage(), unit).format(exact)
  }
  const parts = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), seconds % 60]
  if (parts[0] === 0) parts.shift()
  return parts.map((part, index) => (index ? String(part).padStart(2, '0') : part)).join(':')
}

export function numberText(number) {
  return new Intl.NumberFormat(currentLanguage()).format(number)
}

// ---------------------------------------------------------------- recovery

/** One sentence about a recovery that has ended: `{severity, summary, detail}` for the toast. */
export function recoverySummary(recovery) {
  if (!recovery.total) return { severity: 'info', summary: t('Nothing to recover'), detail: t('Every task is finished or in the queue.') }
  const said = [
    recovery.recovered && t('{n} found complete', { n: recovery.recovered }),
    recovery.requeued && t('{n} queued again', { n: recovery.requeued }),
    recovery.waiting && t('{n} in the queue already', { n: recovery.waiting }),
    recovery.failed && t('{n} failed or cancelled', { n: recovery.failed }),
    recovery.asking && t('{n} waiting for your decision', { n: recovery.asking }),
  ].filter(Boolean)
  return {
    severity: recovery.failed ? 'warn' : 'success',
    summary: t('Recovery finished'),
    detail: said.join(t(', ')),
  }
}
