/** Whose a task is, in words. `status` is what the server last said of itself and of the others, or null. */

import { t, worded } from './texts.mjs'
import { isFinal, numberText, stageOf } from './words.mjs'

/** Who else has tasks in this table. */
export function othersOf(status) {
  return (status?.owners ?? []).filter(({ boot, tasks }) => boot !== status.owner && tasks > 0)
}

/** Who is at work on a task, where that is not this ComfyUI; its `life` as the server says it. */
export function otherOwnerOf(record, status) {
  const owner = record.metadata?.owner
  if (!owner || !status?.owner || owner.boot === status.owner || isFinal(record)) return null
  return { ...owner, ...(status.owners ?? []).find(({ boot }) => boot === owner.boot) }
}

/** What a person calls it. */
export function ownerName({ kind, name, name_zh: chinese }) {
  if (name) return worded(name, chinese)
  return { comfyui: t('another ComfyUI'), main: t('a main.py') }[kind] ?? t('another program')
}

/** Where a task is, or what becomes of it; empty where it is this ComfyUI's. */
export function whoseText(record, status) {
  const owner = otherOwnerOf(record, status)
  if (!owner) return waitsElsewhere(record, status) ? t('Waits for a ComfyUI that has its nodes') : ''
  const name = ownerName(owner)
  if (owner.life === 'dead')
    return isForComfyUI(record) ? t('{name} is gone: taken over in a moment', { name }) : t('{name} is gone: the next main.py goes on', { name })
  if (owner.life === 'doubt') return t('Not sure whether {name} still runs; known within 90 s', { name })
  return owner.kind === 'comfyui' ? t('On {name}', { name }) : name
}

/** The same in the few words that a line of the list has room for. */
export function whoseNote(record, status) {
  const owner = otherOwnerOf(record, status)
  if (owner?.life === 'dead') return isForComfyUI(record) ? t('Its owner is gone: taken over in a moment') : t('Its owner is gone: the next main.py goes on')
  if (owner?.life === 'doubt') return t('Still running? {name}', { name: ownerName(owner) })
  return whoseText(record, status)
}

/** What was never sent to a ComfyUI, or is rendered by another service, is not for this one. */
function isForComfyUI(record) {
  return stageOf(record) !== 'created' && ['comfyui', undefined, null].includes(record.metadata.engine)
}

/** Whether this ComfyUI has refused its graph, and another one may take it. */
export function waitsElsewhere(record, status) {
  return stageOf(record) === 'queued' && !record.metadata.owner && (record.metadata.refused_by ?? []).includes(status?.owner)
}

/** Whether somebody is known to be at work on it. */
export function isAttended(record, status) {
  return !['dead', 'doubt'].includes(otherOwnerOf(record, status)?.life)
}

/** Whether an owner lives, and what happens where it does not. */
export function lifeText({ kind, life }) {
  if (life === 'alive') return t('running')
  if (life === 'doubt') return t('not sure whether it still runs; known within 90 s')
  return kind === 'comfyui' ? t('gone: taken over in a moment') : t('gone: the next main.py goes on')
}

export function tasksText(tasks) {
  return tasks === 1 ? t('1 task') : t('{n} tasks', { n: numberText(tasks) })
}

/** What it means to take over from it, before that is done. */
export function takeOverText({ kind, life }) {
  const main = kind === 'main'
  if (life === 'dead') return main ? t('It is gone, so nothing is rendered twice. Rows that it had not sent yet are done by the next main.py.') : t('It is gone, so nothing is rendered twice.')
  if (life === 'doubt')
    return t('It is not sure whether it still runs. Within 90 s that is known, and what a dead one left is taken over without you. If it does run, what it renders just now may be rendered twice, and what waits there does not start there any more.')
  return main
    ? t('It is running. What it has sent is done here, and may be rendered twice; rows that it has not sent yet are done by the next main.py.')
    : t('It is running. Its tasks are rendered here: the one that it renders just now perhaps twice, and what waits there does not start there any more.')
}
