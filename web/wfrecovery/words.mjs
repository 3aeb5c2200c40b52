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
  if (isCancelling(record)) return t('Being cancelled…')
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
      return isLeft(record) ? t('Delivered by main.py') : ''
  }
}

/** Whether another table delivers it. */
export function isLeft(record) {
  const { state, by, superseded_by: newer } = feishuOf(record)
  return state === 'off' && Boolean(by) && !newer && stageOf(record) !== 'cancelled'
}

/** The same as a sentence, with which table that is. */
export function whoDelivers(record) {
  const { last_error: english, last_error_zh: chinese } = feishuOf(record)
  return (isLeft(record) && worded(english, chinese)) || feishuText(record)
}

/** Why it is not in the sheet yet, in the reader's language. */
export function feishuReason(record) {
  const { last_error: english, last_error_zh: chinese, state } = feishuOf(record)
  return state === 'pushed' || state === 'off' ? '' : worded(english, chinese)
}

export function errorText(record) {
  return record.error_message ? worded(record.error_message, record.metadata?.error_message_zh) : ''
}

export function isFinal(record) {
  return ['finished', 'failed', 'cancelled'].includes(stageOf(record))
}

/** Whether a person wants its end, and it has not ended yet. */
export function isCancelling(record) {
  return Boolean(record.metadata?.cancel_requested) && !isFinal(record)
}

/** What can be done with a task now; `told`: what the server says of its files, where that is known. */
export function actionsOf(record, told = []) {
  const stage = stageOf(record)
  const blocked = feishuOf(record).state === 'blocked'
  const main = mainResult(record)
  return {
    retry: ['failed', 'cancelled', 'asking'].includes(stage) || (stage === 'finished' && (blocked || told.some(isGone))),
    cancel: ['created', 'queued', 'running', 'asking'].includes(stage),
    push: isFinal(record) && (['blocked', 'pending', 'pushed'].includes(feishuOf(record).state) || isLeft(record)),
    write: stage === 'finished' && blocked && canBeShown(main) && !told.some(isGone),
    adopt: ['failed', 'asking'].includes(stage) || (stage === 'finished' && (told.some(isGone) || (blocked && !canBeShown(main)))),
    leave: isFinal(record) && blocked,
    output: Boolean(main) && !told.some((one) => one.path === main.path && isGone(one)),
  }
}

/** What pushes a task is called by whose it is. */
export function pushText(record) {
  return isLeft(record) ? t('Push from here') : t('Push again')
}

/** What queues a task again is called by what it is for. */
export function retryText(record) {
  return stageOf(record) === 'finished' ? t('Render again') : t('Retry')
}

// ---------------------------------------------------------------- results

/** A task's files: what each holds, by its content, and whether it is the one that goes into the sheet. */
export function resultsOf(record) {
  const kinds = new Map((record.metadata?.results ?? []).map(({ path, kind }) => [path, kind]))
  const { file } = feishuOf(record)
  return (record.output_files ?? []).map((path) => ({ path, kind: kinds.get(path) ?? kindByName(path), delivered: path === file }))
}

/** The one that stands for all, as the server's thumbnail does: the delivered one, else the first that can be shown. */
export function mainResult(record) {
  const results = resultsOf(record)
  const shown = results.filter(canBeShown)
  return shown.find(({ delivered }) => delivered) ?? shown[0] ?? results[0]
}

export function canBeShown(result) {
  return result?.kind === 'picture' || result?.kind === 'video'
}

/** What of a task that waits for a decision lies in the output folder: perhaps all of it. */
export function foundOf(record) {
  return stageOf(record) === 'asking' ? (record.metadata?.found ?? []).map((path) => ({ path, kind: kindByName(path) })) : []
}

/** Of a result of which an older version recorded no more than the name. */
function kindByName(path) {
  if (/\.(png|jpe?g|webp|gif|bmp|avif|tiff?)$/i.test(path)) return 'picture'
  return /\.(mp4|webm|mov|mkv|avi|m4v)$/i.test(path) ? 'video' : 'other'
}

/** Whether a file, as the server tells of it, is not this task's any more, or cannot be known to be. */
export function isGone({ state }) {
  return state !== 'there'
}

/** What became of such a file, in a few words. */
export function goneText(state) {
  return (
    {
      replaced: t('Replaced by another file'),
      missing: t('Not there any more'),
      unknown: t('Changed since: perhaps another file'),
      outside: t('Outside the output folder'),
    }[state] ?? state
  )
}

/** That a task has more files than its record lists; empty where those are all. */
export function unlistedText(record) {
  const n = record.metadata?.unlisted ?? 0
  return n ? t('… and {n} more', { n }) : ''
}

/** Where the file goes that was chosen of several; empty for the others. */
export function deliveredText(record, result) {
  if (!result.delivered || resultsOf(record).length < 2) return ''
  return feishuOf(record).state === 'pushed' ? t('In the sheet') : t('Goes into the sheet')
}

// ---------------------------------------------------------------- story

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
      given: t('A person has named its file'),
      finished: t('Finished'),
      failed: t('Failed'),
      cancelled: t('Cancelled'),
      pushed: t('Written into the sheet'),
      blocked: t('Could not be written into the sheet'),
      push_again: t('To be written into the sheet again'),
    }[what] ?? what
  )
}

/** What an entry says beside that: a reason, or of several files the one that was chosen. */
export function storyNote({ what, text, text_zh: chinese }) {
  if (text && ['finished', 'adopted'].includes(what)) return t('Goes into the sheet: {name}', { name: text })
  return worded(text, chinese)
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

/** "12 kB" */
export function sizeText(bytes) {
  const [unit, size] = bytes < 1e6 ? ['kilobyte', bytes / 1e3] : ['megabyte', bytes / 1e6]
  return new Intl.NumberFormat(currentLanguage(), { style: 'unit', unit, unitDisplay: 'short', maximumFractionDigits: size < 10 ? 1 : 0 }).format(size)
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
