import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'

import { queryOf } from '../../web/wfrecovery/view/filters.mjs'
import { useLanguage } from '../../web/wfrecovery/texts.mjs'
import {
  actionsOf,
  agoText,
  deliveredText,
  durationText,
  feishuReason,
  feishuText,
  goneText,
  mainResult,
  pushText,
  recoverySummary,
  resultsOf,
  retryText,
  stageText,
  storyNote,
  titleOf,
  unlistedText,
  whoDelivers,
} from '../../web/wfrecovery/words.mjs'
import { record } from './support.mjs'

afterEach(() => useLanguage('en'))

const chosen = (of) => Object.keys(of).filter((name) => of[name])

test('each stage offers what is possible there, and nothing else', () => {
  for (const [stage, feishu, expected] of [
    ['created', 'pending', ['cancel']],
    ['queued', 'pending', ['cancel']],
    ['running', 'pending', ['cancel']],
    ['asking', 'off', ['retry', 'adopt', 'cancel']],
    ['failed', 'off', ['retry', 'adopt']],
    ['failed', 'blocked', ['push', 'retry', 'adopt', 'leave']],
    ['cancelled', 'off', ['retry']],
    ['finished', 'blocked', ['push', 'retry', 'adopt', 'leave']],
    ['finished', 'pending', ['push']],
    ['finished', 'pushed', ['push']],
    ['finished', 'off', []],
  ]) {
    assert.deepEqual(chosen(actionsOf(record(1, { stage, feishu }))).sort(), expected.sort(), `${stage}, ${feishu}`)
  }
  assert.deepEqual(chosen(actionsOf(record(1, { output_files: ['a.png'] }))), ['output'])
})

test('what does not get into the sheet is decided by a person: a picture that is there can be written, else a file is named', () => {
  const blocked = record(1, { feishu: 'blocked', output_files: ['a.png'] })
  assert.deepEqual(chosen(actionsOf(blocked)).sort(), ['leave', 'output', 'push', 'retry', 'write'])
  assert.deepEqual(chosen(actionsOf(blocked, [{ path: 'a.png', state: 'missing' }])).sort(), ['adopt', 'leave', 'push', 'retry'])
  assert.deepEqual(chosen(actionsOf({ ...blocked, output_files: ['notes.txt'] })).sort(), ['adopt', 'leave', 'output', 'push', 'retry'])
})

test('a result that is gone is rendered again, and not opened', () => {
  const two = record(1, { output_files: ['a.png', 'b.png'] })
  const told = (...states) => states.map((state, index) => ({ path: two.output_files[index], state }))
  assert.deepEqual(chosen(actionsOf(two, told('there', 'there'))), ['output'])
  for (const state of ['replaced', 'missing', 'unknown', 'outside', 'of a newer version']) {
    assert.deepEqual(chosen(actionsOf(two, told(state, 'there'))).sort(), ['adopt', 'retry'], state)
    assert.deepEqual(chosen(actionsOf(two, told('there', state))).sort(), ['adopt', 'output', 'retry'], state)
    assert.ok(goneText(state))
  }
  assert.deepEqual(chosen(actionsOf({ ...two, metadata: { stage: 'running' } }, told('missing'))), ['cancel'])
  assert.equal(retryText(two), 'Render again')
  assert.equal(retryText(record(1, { stage: 'failed' })), 'Retry')
})

/** A finished task with these files: path → kind, of which one goes into the sheet. */
function withFiles(kinds, file, feishu = 'pending') {
  const output_files = Object.keys(kinds)
  const made = record(1, { output_files, feishu })
  made.metadata.results = output_files.map((path) => ({ path, kind: kinds[path] ?? undefined }))
  made.metadata.feishu.file = file
  return made
}

test('the file that is delivered stands for all, else the first that can be shown', () => {
  const kinds = { 'notes.txt': 'other', 'a.png': 'picture', 'b.png': 'picture' }
  assert.equal(mainResult(withFiles(kinds, 'b.png')).path, 'b.png')
  assert.equal(mainResult(withFiles(kinds)).path, 'a.png')
  assert.equal(mainResult(withFiles(kinds, 'notes.txt')).path, 'a.png')
  assert.equal(mainResult(withFiles({ 'notes.txt': 'other' })).path, 'notes.txt')
  assert.equal(mainResult(record(1)), undefined)
})

test('a file is what it holds; its name counts where an older version recorded no more', () => {
  const kinds = (of) => resultsOf(withFiles(of)).map(({ kind }) => kind)
  assert.deepEqual(kinds({ 'film.png': 'video', 'a.mp4': 'picture' }), ['video', 'picture'])
  assert.deepEqual(kinds({ 'film.MP4': null, 'a.jpeg': null, 'sound.flac': null }), ['video', 'picture', 'other'])
  assert.equal(mainResult({ ...record(1), output_files: ['a.webm'] }).kind, 'video')
})

test('of several files the one that goes into the sheet is marked', () => {
  const marks = (of) => resultsOf(of).map((result) => deliveredText(of, result))
  const two = { 'a.png': 'picture', 'b.png': 'picture' }
  assert.deepEqual(marks(withFiles(two, 'b.png')), ['', 'Goes into the sheet'])
  assert.deepEqual(marks(withFiles(two, 'b.png', 'pushed')), ['', 'In the sheet'])
  assert.deepEqual(marks(withFiles({ 'a.png': 'picture' }, 'a.png')), [''])
  assert.deepEqual(marks(withFiles(two, undefined, 'off')), ['', ''])
})

test('what a record does not list of its files is counted', () => {
  const two = withFiles({ 'a.png': 'picture', 'b.png': 'picture' })
  assert.equal(unlistedText(two), '')
  assert.equal(unlistedText({ ...two, metadata: { ...two.metadata, unlisted: 9 } }), '… and 9 more')
})

test('the story names the file that was chosen, and else gives reasons', async () => {
  for (const what of ['finished', 'adopted']) {
    assert.equal(storyNote({ what, text: 'b.png' }), 'Goes into the sheet: b.png')
    assert.equal(storyNote({ what }), '')
  }
  const failed = { what: 'failed', text: 'no memory', text_zh: '显存不足' }
  assert.equal(storyNote(failed), 'no memory')
  await useLanguage('zh', async () => ({ zh: { wfrecovery: { 'Goes into the sheet: {name}': '写入表格：{name}' } } }))
  assert.equal(storyNote(failed), '显存不足')
  assert.equal(storyNote({ what: 'finished', text: 'b.png' }), '写入表格：b.png')
})

test('a row has its product and model in its title, a prompt without a row what it is', () => {
  assert.equal(titleOf(record(66)), 'Row 67 · 产品 · 模特')
  assert.equal(titleOf({ ...record(1), row_number: null, product_name: '', model_name: '' }), 'img_20261123_001')
  assert.equal(titleOf({ ...record(1), row_number: null, title: 'a red chair' }), 'a red chair')
})

test("Feishu's reason is given in the reader's language", async () => {
  const blocked = record(1, { feishu: 'blocked' })
  Object.assign(blocked.metadata.feishu, { last_error: 'two rows match', last_error_zh: '有两行匹配' })
  assert.equal(feishuReason(blocked), 'two rows match')
  await useLanguage('zh', async () => ({ zh: { wfrecovery: { 'Not in the sheet': '未写入表格' } } }))
  assert.equal(feishuReason(blocked), '有两行匹配')
  assert.equal(feishuText(blocked), '未写入表格')
  delete blocked.metadata.feishu.last_error_zh
  assert.equal(feishuReason(blocked), 'two rows match')
})

test('what main.py delivers says so, is no trouble, and can be pushed from here', async () => {
  const left = record(1, { feishu: 'off' })
  Object.assign(left.metadata.feishu, { by: '3f2a91c0', last_error: 'main.py delivers it (3f2a91c0)', last_error_zh: '由 main.py 写入（3f2a91c0）' })
  assert.equal(feishuText(left), 'Delivered by main.py')
  assert.equal(whoDelivers(left), 'main.py delivers it (3f2a91c0)')
  assert.equal(feishuReason(left), '')
  assert.deepEqual([chosen(actionsOf(left)), pushText(left)], [['push'], 'Push from here'])
  await useLanguage('zh', async () => ({ zh: { wfrecovery: {} } }))
  assert.equal(whoDelivers(left), '由 main.py 写入（3f2a91c0）')
  await useLanguage('en')
  for (const other of [{ superseded_by: 'img_20261123_002' }, { by: undefined }]) {
    const off = structuredClone(left)
    Object.assign(off.metadata.feishu, other)
    assert.deepEqual([feishuText(off), whoDelivers(off), chosen(actionsOf(off)), pushText(off)], ['', '', [], 'Push again'])
  }
  left.metadata.stage = 'cancelled'
  assert.deepEqual(chosen(actionsOf(left)), ['retry'])
})

test('a task that is not finished does not wait for the sheet yet', () => {
  assert.equal(feishuText(record(1, { stage: 'running', feishu: 'pending' })), '')
  assert.equal(feishuText(record(1, { feishu: 'pending' })), 'Waiting for Feishu')
})

test('a stage of a newer version is shown as it is', () => {
  assert.equal(stageText(record(1, { stage: 'thawing' })), 'thawing')
})

test('times and durations read well, and nonsense is silent', () => {
  const now = Date.parse('2026-11-23T12:00:00Z')
  assert.equal(agoText('2026-11-23T11:59:58Z', now), 'just now')
  assert.equal(agoText('2026-11-23T11:57:00Z', now), '3 min. ago')
  assert.match(agoText('2026-10-01T12:00:00Z', now), /Oct 1, 2026/)
  assert.equal(agoText(null, now), '')
  assert.equal(durationText('2026-11-23T10:00:00Z', '2026-11-23T10:00:02.460Z'), '2.5 sec')
  assert.equal(durationText('2026-11-23T10:00:00Z', '2026-11-23T10:00:59.700Z'), '1:00')
  assert.equal(durationText('2026-11-23T10:00:00Z', '2026-11-23T10:01:05Z'), '1:05')
  assert.equal(durationText('2026-11-23T10:00:00Z', '2026-11-23T12:00:09Z'), '2:00:09')
  assert.equal(durationText('2026-11-23T10:00:00Z', '2026-11-23T09:00:00Z'), '')
  assert.equal(durationText(undefined, null), '')
})

test('a recovery is summed up without its zeros', () => {
  const summary = recoverySummary({ total: 3, recovered: 0, requeued: 2, waiting: 0, failed: 0, asking: 1 })
  assert.equal(summary.detail, '2 queued again, 1 waiting for your decision')
})

test("the filters become the server's parameters", () => {
  assert.deepEqual(queryOf({ status: '失败', workflow: 'other', q: '67' }), { status: '失败', workflow_type: 'other', q: '67' })
  assert.deepEqual(queryOf({ status: 'feishu:blocked', workflow: '', q: '' }), { feishu: 'blocked', workflow_type: '', q: '' })
})
