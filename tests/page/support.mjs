/** What the tests of the modules share: a server side in memory, and waiting for what was begun. */

/** A task's record as the server sends it. */
export function record(number, { stage = 'finished', feishu = 'off', revision = 1, ...more } = {}) {
  const status = { finished: '已完成', failed: '失败', cancelled: '失败' }[stage] ?? '在处理中'
  return {
    task_id: `img_20261123_${String(number).padStart(3, '0')}`,
    revision,
    row_number: number + 1,
    product_name: '产品',
    model_name: '模特',
    workflow_type: '图片合成',
    status,
    created_at: '2026-11-23T10:00:00+08:00',
    output_files: [],
    error_message: null,
    metadata: { stage, attempts: 1, feishu: { state: feishu } },
    ...more,
  }
}

/** A status as the server sends it. */
export function status(more = {}) {
  return {
    version: '0.1.0',
    boot_id: 'boot 1',
    tasks: { 在处理中: 0, 已完成: 0, 失败: 0 },
    attention: 0,
    stages: {},
    recovery: { state: 'idle', total: 0, done: 0, recovered: 0, requeued: 0, waiting: 0, failed: 0, asking: 0, started_at: null, finished_at: null },
    feishu: { configured: false, pending: 0, pushed: 0, blocked: 0, last_error: null },
    ...more,
  }
}

/** A table of `length` tasks, newest first, which answers like `GET /wfrecovery/tasks` and notes what was asked. */
export class Table {
  constructor(length) {
    this.records = Array.from({ length }, (_, index) => record(length - index))
    this.asked = []
    this.gate = null
  }

  load = async ({ offset, limit, status: wanted }, signal) => {
    this.asked.push(offset)
    const matching = this.records.filter((one) => !wanted || one.status === wanted)
    const answer = { tasks: matching.slice(offset, offset + limit), total: matching.length }
    if (this.gate) await this.gate
    if (signal.aborted) throw new DOMException('aborted', 'AbortError')
    return answer
  }
}

/** A localStorage. */
export class Storage {
  constructor() {
    this.values = new Map()
  }

  getItem(name) {
    return this.values.get(name) ?? null
  }

  setItem(name, value) {
    this.values.set(name, value)
  }
}

/** Let everything that is ready to go on do so. */
export async function settled() {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve()
}
