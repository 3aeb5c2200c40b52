/**
 * The small picture of a task: the server's thumbnail, else the video's own first frame, else an icon; of a result that is
 * gone another one, which says so.
 */

import { fill, h, icon } from './dom.mjs'
import { canBeShown, goneText, mainResult, stageOf } from '../words.mjs'

const ICON_OF_STAGE = {
  created: 'pencil',
  queued: 'clock',
  running: 'spinner',
  asking: 'question-circle',
  finished: 'check',
  failed: 'times-circle',
  cancelled: 'ban',
}

/** Show the picture of `record` in `frame`; does nothing when it is there already. */
export function showThumbnail(frame, record, routes) {
  const source = sourceOf(record, routes)
  const key = source ? source.url : `icon:${stageOf(record)}`
  if (frame.dataset.shows === key) return
  frame.dataset.shows = key
  if (!source) return void fill(frame, stageIcon(record))
  const picture = h('img', { alt: '', loading: 'lazy', decoding: 'async', draggable: 'false' })
  picture.addEventListener('error', async () => {
    const gone = await routes.goneThumbnail(record)
    if (frame.dataset.shows !== key) return
    if (gone) fill(frame, goneIcon(gone))
    else fill(frame, source.video ? videoFrame(source.video, frame, record) : stageIcon(record))
  })
  picture.src = source.url
  fill(frame, picture)
}

/** The small picture of a file in the output folder that is no task's yet. */
export function fileThumbnail({ path, kind }, routes) {
  const frame = h('span', { class: 'wfr-thumbnail' }, icon(kind === 'video' ? 'video' : 'image'))
  if (kind !== 'picture') return frame
  const picture = h('img', { alt: '', decoding: 'async', src: routes.pictureUrl(path) })
  picture.addEventListener('load', () => fill(frame, picture))
  return frame
}

function sourceOf(record, routes) {
  if (stageOf(record) !== 'finished') return null
  const main = mainResult(record)
  if (!canBeShown(main)) return null
  return { url: routes.thumbnailUrl(record), video: main.kind === 'video' && routes.fileUrl(record, main.path) }
}

function videoFrame(url, frame, record) {
  const video = h('video', { preload: 'metadata', muted: true, playsinline: true, tabindex: '-1', 'aria-hidden': 'true' })
  video.addEventListener('error', () => fill(frame, stageIcon(record)))
  // A fragment makes browsers paint the first frame without playing.
  video.src = `${url}#t=0.01`
  return video
}

/** In the place of a result that is not this task's any more: another file's picture is never shown. */
function goneIcon(state) {
  const text = goneText(state)
  return h('span', { class: 'wfr-gone', 'data-wfr': 'gone', role: 'img', 'aria-label': text, title: text }, icon('eye-slash'))
}

function stageIcon(record) {
  return icon(ICON_OF_STAGE[stageOf(record)] ?? 'image', stageOf(record) === 'running' ? 'pi-spin' : '')
}
