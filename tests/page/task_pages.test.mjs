import assert from 'node:assert/strict'
import { test } from 'node:test'

import { PAGE, TaskPages } from '../../web/wfrecovery/data/task_pages.mjs'
import { record, settled, Table } from './support.mjs'

function pagesOf(table) {
  const pages = new TaskPages(table.load, () => pages.changes++)
  pages.changes = 0
  return pages
}

test('of ten thousand tasks only the pages in view are asked for', async () => {
  const table = new Table(10_000)
  const pages = pagesOf(table)
  await pages.setFilter({})
  assert.equal(pages.total, 10_000)
  await pages.show(5000, 5020)
  assert.deepEqual(table.asked, [0, 5000])
  assert.equal(pages.at(5003).task_id, table.records[5003].task_id)
  assert.equal(pages.at(300), undefined)
})

test('a view across two pages loads both, and neither twice', async () => {
  const table = new Table(1000)
  const pages = pagesOf(table)
  await pages.setFilter({})
  await Promise.all([pages.show(PAGE - 3, PAGE + 3), pages.show(PAGE - 2, PAGE + 4)])
  await pages.show(PAGE - 1, PAGE + 5)
  assert.deepEqual(table.asked, [0, PAGE])
})

test('scrolling through the whole table keeps few records', async () => {
  const pages = pagesOf(new Table(10_000))
  await pages.setFilter({})
  for (let at = 0; at < 10_000; at += PAGE) await pages.show(at, at + 10)
  assert.ok(pages._records.size <= 13 * PAGE, `${pages._records.size} records are held`)
  assert.ok(pages.at(9950))
})

test('the answer to a filter that was given up meanwhile is not shown', async () => {
  const table = new Table(50)
  table.records[7] = record(43, { stage: 'failed' })
  const pages = pagesOf(table)
  let open
  table.gate = new Promise((resolve) => (open = resolve))
  const first = pages.setFilter({})
  table.gate = null
  await pages.setFilter({ status: '失败' })
  open()
  await first
  assert.equal(pages.total, 1)
  assert.equal(pages.at(0).metadata.stage, 'failed')
})

test('while a filter is being answered the former tasks stay, and nothing else is asked', async () => {
  const table = new Table(1000)
  const pages = pagesOf(table)
  await pages.setFilter({})
  await pages.show(500, 510)
  let open
  table.gate = new Promise((resolve) => (open = resolve))
  const filtered = pages.setFilter({ status: '失败' })
  const shown = pages.show(300, 310)
  assert.equal(pages.at(505).task_id, table.records[505].task_id)
  open()
  await Promise.all([filtered, shown])
  assert.equal(pages.total, 0)
  assert.equal(pages.at(505), undefined)
  assert.deepEqual(table.asked, [0, 500, 0])
})

test('a refresh while a page is on its way asks once more, so that nothing newer is missed', async () => {
  const table = new Table(10)
  const pages = pagesOf(table)
  let open
  table.gate = new Promise((resolve) => (open = resolve))
  const first = pages.setFilter({})
  const second = pages.refresh()
  table.records.unshift(record(11))
  open()
  table.gate = null
  await Promise.all([first, second])
  assert.equal(pages.total, 11)
  assert.deepEqual(table.asked, [0, 0])
})

test('a failed request is told, and does not block the next', async () => {
  const table = new Table(10)
  const pages = pagesOf(table)
  const { load } = table
  pages._load = () => Promise.reject(new Error('gone'))
  await assert.rejects(pages.setFilter({}), /gone/)
  pages._load = load
  await pages.show(0, 5)
  assert.equal(pages.total, 10)
})

test('a changed record is shown at once, an overtaken one is not', async () => {
  const table = new Table(10)
  const pages = pagesOf(table)
  await pages.setFilter({})
  const { task_id: id } = table.records[4]
  const changed = record(6, { stage: 'running', revision: 3 })
  assert.equal(changed.task_id, id)
  assert.equal(pages.update([changed]), false)
  assert.equal(pages.at(4).metadata.stage, 'running')
  pages.update([record(6, { stage: 'queued', revision: 2 })])
  assert.equal(pages.at(4).metadata.stage, 'running')
})

test('a page that was asked for before a change does not undo it', async () => {
  const table = new Table(10)
  const pages = pagesOf(table)
  await pages.setFilter({})
  let open
  table.gate = new Promise((resolve) => (open = resolve))
  const refresh = pages.refresh()
  pages.update([record(6, { stage: 'running', revision: 3 })])
  open()
  await refresh
  assert.equal(pages.get(table.records[4].task_id).metadata.stage, 'running')
})

test('a new task, or one that leaves the filter, makes the order stale', async () => {
  const table = new Table(10)
  const pages = pagesOf(table)
  await pages.setFilter({ status: '已完成' })
  assert.equal(pages.update([record(11)]), true)
  assert.equal(pages.update([record(6, { stage: 'failed', revision: 2 })]), true)
  await pages.setFilter({})
  assert.equal(pages.update([record(6, { stage: 'failed', revision: 2 })]), false)
})

test('a task is found again where it has moved to', async () => {
  const table = new Table(300)
  const pages = pagesOf(table)
  await pages.setFilter({})
  await pages.show(100, 120)
  const { task_id: id } = pages.at(110)
  table.records.unshift(record(301), record(302))
  await pages.refresh()
  await settled()
  assert.equal(pages.positionOf(id), 112)
})

test('a table that has shrunk below the view is shown from its end', async () => {
  const table = new Table(300)
  const pages = pagesOf(table)
  await pages.setFilter({})
  await pages.show(250, 270)
  table.records.length = 40
  await pages.refresh()
  assert.equal(pages.total, 40)
  await pages.show(20, 39)
  assert.ok(pages.at(39))
})
