import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'

import { queryOf } from '../../web/wfrecovery/view/filters.mjs'
import { useLanguage } from '../../web/wfrecovery/texts.mjs'
import { actionsOf, agoText, durationText, feishuReason, feishuText, recoverySummary, stageText, titleOf } from '../../web/wfrecovery/words.mjs'
import { record } from './support.mjs'

afterEach(() => useLanguage('en'))

const chosen = (of) => Object.keys(of).filter((name) => of[name])

test('each stage offers what is possible there, and nothing else', () => {
  for (const [stage, feishu, expected] of [
    ['created', 'pending', ['cancel']],
    ['queued', 'pending', ['cancel']],
    ['running', 'pending', ['cancel']],
    ['asking', 'off', ['retry', 'cancel']],
    ['failed', 'off', ['retry']],
    ['cancelled', 'off', ['retry']],
    ['finished', 'blocked', ['push']],
    ['finished', 'pushed', ['push']],
    ['finished', 'off', []],
  ]) {
    assert.deepEqual(chosen(actionsOf(record(1, { stage, feishu }))).sort(), expected.sort(), `${stage}, ${feishu}`)
  }
  assert.deepEqual(chosen(actionsOf(record(1, { output_files: ['a.png'] }))), ['output'])
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
