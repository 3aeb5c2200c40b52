/**
 * The tasks of the current filter, of which only the pages in view are held: a table of any length costs the same.
 * Positions count from the newest task; each page has PAGE of them.
 */

export const PAGE = 100
/** Pages kept around the view; older ones are asked for again. */
const KEPT = 12

export class TaskPages {
  /** `load(query, signal)` answers `{tasks, total}`; `onChange()` when something in view may look different. */
  constructor(load, onChange) {
    this._load = load
    this._onChange = onChange
    this._records = new Map()
    this._pages = new Map()
    this._total = null
    this.filter = {}
    this._begin()
  }

  /** How many tasks match; null until the first answer. */
  get total() {
    return this._total
  }

  /** Show the tasks that match `filter` (the server's query parameters); the former ones stay until those are there. */
  async setFilter(filter) {
    this.filter = filter
    this._begin()
    await this._fetch(0)
  }

  /** The record at a position, or undefined while it is not loaded. */
  at(position) {
    const id = this._pages.get(Math.floor(position / PAGE))?.[position % PAGE]
    return id === undefined ? undefined : this._records.get(id)
  }

  get(id) {
    return this._records.get(id)
  }

  /** The position of a loaded task, or -1. */
  positionOf(id) {
    for (const [page, ids] of this._pages) {
      const place = ids.indexOf(id)
      if (place >= 0) return page * PAGE + place
    }
    return -1
  }

  /** Positions `first` to `last` come into view: load what is missing there. */
  async show(first, last) {
    if (this._changing) return this._fetch(0)
    this._view = [first, last]
    await Promise.all(this._pagesInView().filter((page) => !this._pages.has(page)).map((page) => this._fetch(page)))
  }

  /** Ask again for what is in view; what is shown stays until the answer is there. */
  async refresh() {
    const pages = this._pagesInView()
    for (const page of [...this._pages.keys()]) if (!pages.includes(page)) this._pages.delete(page)
    await Promise.all(pages.map((page) => this._fetch(page, { again: true })))
  }

  /** Take over changed records. Returns whether the order may have changed, so that a refresh is due. */
  update(records) {
    let stale = false
    let seen = false
    for (const record of records) {
      const known = this._records.get(record.task_id)
      if (known && known.revision > record.revision) continue // overtaken on the way
      stale ||= !known || movesInFilter(known, record, this.filter)
      if (known) this._records.set(record.task_id, record)
      seen = true
    }
    if (seen) this._onChange()
    return stale
  }

  _begin() {
    this._generation = (this._generation ?? 0) + 1
    this._aborter?.abort()
    this._aborter = new AbortController()
    this._asked = new Map()
    this._view = [0, 0]
    this._changing = true
  }

  _pagesInView() {
    const last = Math.max(0, Math.min(this._view[1], (this._total ?? 1) - 1))
    const first = Math.min(this._view[0], last)
    const pages = []
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page++) pages.push(page)
    return pages
  }

  /** One request per page at a time. `again`: one under way may be too old, so it is followed by a second. */
  _fetch(page, { again = false } = {}) {
    const asked = this._asked.get(page)
    if (asked) {
      asked.again ||= again
      return asked.done
    }
    const mine = { again: false }
    mine.done = this._fetchNow(page, mine).finally(() => {
      if (this._asked.get(page) === mine) this._asked.delete(page)
    })
    this._asked.set(page, mine)
    return mine.done
  }

  async _fetchNow(page, asked) {
    const { _generation: generation, _aborter: aborter } = this
    do {
      asked.again = false
      let answer
      try {
        answer = await this._load({ ...this.filter, limit: PAGE, offset: page * PAGE }, aborter.signal)
      } catch (error) {
        if (generation !== this._generation) return // another filter is shown by now
        throw error
      }
      if (generation !== this._generation) return
      if (this._changing) this._pages.clear()
      this._changing = false
      this._total = answer.total
      for (const record of answer.tasks) this._keep(record)
      this._pages.set(page, answer.tasks.map((record) => record.task_id))
      this._forget(page)
      this._onChange()
    } while (asked.again)
  }

  _keep(record) {
    const known = this._records.get(record.task_id)
    if (!known || known.revision <= record.revision) this._records.set(record.task_id, record)
  }

  /** Drop the pages farthest from `page`, and the records that no page names. */
  _forget(page) {
    if (this._pages.size <= KEPT) return
    const farthest = [...this._pages.keys()].sort((a, b) => Math.abs(b - page) - Math.abs(a - page))
    for (const far of farthest.slice(0, this._pages.size - KEPT)) this._pages.delete(far)
    const named = new Set([...this._pages.values()].flat())
    for (const id of this._records.keys()) if (!named.has(id)) this._records.delete(id)
  }
}

function movesInFilter(known, record, filter) {
  const moves = (wanted, was, is) => Boolean(wanted) && was !== is
  return (
    moves(filter.status, known.status, record.status) ||
    moves(filter.stage, known.metadata?.stage, record.metadata?.stage) ||
    moves(filter.feishu, known.metadata?.feishu?.state, record.metadata?.feishu?.state)
  )
}
