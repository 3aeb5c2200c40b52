/** The small picture of a task: the server's thumbnail, else the video's own first frame, else an icon. */

import { fill, h, icon } from './dom.mjs'
import { isPicture, isVideo, outputsOf, stageOf } from '../words.mjs'

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
  picture.addEventListener('error', () => {
    if (frame.dataset.shows !== key) return
    fill(frame, source.video ? videoFrame(source.video, frame, record) : stageIcon(record))
  })
  picture.src = source.url
  fill(frame, picture)
}

function sourceOf(record, routes) {
  if (stageOf(record) !== 'finished') return null
  const outputs = outputsOf(record)
  const video = outputs.find(isVideo)
  if (!video && !outputs.some(isPicture)) return null
  return { url: routes.thumbnailUrl(record), video: video && routes.fileUrl(video) }
}

function videoFrame(url, frame, record) {
  const video = h('video', { preload: 'metadata', muted: true, playsinline: true, tabindex: '-1', 'aria-hidden': 'true' })
  video.addEventListener('error', () => fill(frame, stageIcon(record)))
  // A fragment makes browsers paint the first frame without playing.
  video.src = `${url}#t=0.01`
  return video
}

function stageIcon(record) {
  return icon(ICON_OF_STAGE[stageOf(record)] ?? 'image', stageOf(record) === 'running' ? 'pi-spin' : '')
}
