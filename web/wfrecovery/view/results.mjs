/** A task's files. Each is shown and opened only while it is still this task's, never another file of the same name. */

import { h, icon } from './dom.mjs'
import { fileThumbnail, showThumbnail } from './thumbnail.mjs'
import { t } from '../texts.mjs'
import { canBeShown, deliveredText, foundOf, goneText, isGone, mainResult, resultsOf, stageOf, unlistedText } from '../words.mjs'

/** The picture or video that stands for a task, or that it is gone; `told`: what the server says of the files. */
export function resultPart(record, told, { routes, onOpen }) {
  const main = mainResult(record)
  if (stageOf(record) !== 'finished' || !canBeShown(main)) return null
  const gone = goneOf(main, told)
  if (gone) return h('div', { class: 'wfr-result wfr-result-gone', 'data-wfr': 'result-gone' }, icon('eye-slash'), goneText(gone.state))
  if (main.kind === 'video') {
    return h('video', { class: 'wfr-result', controls: true, preload: 'metadata', src: routes.fileUrl(record, main.path), 'aria-label': t('Result') })
  }
  const frame = h('button', { type: 'button', class: 'wfr-result wfr-result-picture', 'aria-label': t('Open output'), onclick: onOpen })
  showThumbnail(frame, record, routes)
  return frame
}

/** All files by their names: a link to each that is there, what became of the others, and which one goes into the sheet. */
export function fileList(record, told, routes) {
  const results = resultsOf(record)
  if (!results.length) return null
  const entry = (result) => {
    const gone = goneOf(result, told)
    const delivered = deliveredText(record, result)
    return h(
      'li',
      { 'data-wfr': 'file', 'data-state': gone?.state },
      gone
        ? h('s', { class: 'wfr-muted', translate: 'no' }, result.path)
        : h('a', { href: routes.fileUrl(record, result.path), target: '_blank', rel: 'noopener', translate: 'no' }, result.path),
      gone && h('span', { class: 'wfr-file-gone' }, icon('exclamation-triangle'), goneText(gone.state)),
      delivered && h('span', { class: 'wfr-file-delivered' }, icon('table'), delivered),
    )
  }
  const more = unlistedText(record)
  return [h('h3', {}, t('Files')), h('ul', { class: 'wfr-files' }, results.map(entry), more && h('li', { class: 'wfr-muted' }, more))]
}

/** What lies in the output folder of a task that waits for a decision, as a person has to see it before. */
export function foundList(record, routes) {
  const found = foundOf(record)
  if (!found.length) return null
  const entry = (file) => h('li', { class: 'wfr-found', 'data-wfr': 'found' }, fileThumbnail(file, routes), h('span', { translate: 'no' }, file.path))
  return [h('h3', {}, t('Files that it made before')), h('ul', { class: 'wfr-files' }, found.map(entry))]
}

function goneOf({ path }, told) {
  return told.find((one) => one.path === path && isGone(one))
}
