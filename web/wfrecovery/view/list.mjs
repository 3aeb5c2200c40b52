/**
 * The list of tasks: as long as the table, with only the rows in view in the document. Focus stays on the list, the
 * active task is told to screen readers by `aria-activedescendant`, so that a row may leave the document at any time.
 */

import { h } from './dom.mjs'
import { TaskRow } from './row.mjs'
import { t } from '../texts.mjs'

/** Height of a row in pixels; the same in ../styles/list.css. */
export const ROW_HEIGHT = 72
/** Scrolled down by more rows than this, a reader is not to be disturbed; nearer to the top, news is what is wanted. */
const READING = 3
/** Rows kept above and below the view, so that scrolling does not show gaps. */
const MARGIN = 6

export class TaskList {
  /** `onOpen(record)` when a task is chosen. */
  constructor({ pages, state, routes, onOpen }) {
    this._pages = pages
    this._state = state
    this._routes = routes
    this._onOpen = onOpen
    this._rows = new Map()
    this._spare = []
    this.active = 0
    this._space = h('div', { class: 'wfr-list-space', role: 'presentation' })
    this.element = h(
      'div',
      {
        class: 'wfr-list',
        'data-wfr': 'list',
        role: 'listbox',
        tabindex: '0',
        'aria-label': t('Tasks'),
        onscroll: () => this._later(),
        onkeydown: (event) => this._key(event),
        onclick: (event) => this._click(event),
        onfocus: () => this.draw(),
        onblur: () => this.draw(),
      },
      this._space,
    )
    this._resize = new ResizeObserver(() => this._later())
    this._resize.observe(this.element)
  }

  destroy() {
    this._resize.disconnect()
    cancelAnimationFrame(this._frame)
  }

  /** To the top, for a new filter. */
  reset() {
    this.active = 0
    this.element.scrollTop = 0
    this.draw()
  }

  focus() {
    this.element.focus({ preventScroll: true })
  }

  /** Draw what is in view, at the next frame. */
  later() {
    this._later()
  }

  /** Remember what is at the top, call `change`, and keep it there: new tasks must not push away what is read. */
  async keepingPlace(change) {
    const top = Math.floor(this.element.scrollTop / ROW_HEIGHT)
    const anchor = top > READING ? this._pages.at(top)?.task_id : undefined
    const activeId = this._pages.at(this.active)?.task_id
    await change()
    const moved = anchor === undefined ? -1 : this._pages.positionOf(anchor)
    this._setHeight()
    if (moved >= 0 && moved !== top) this.element.scrollTop += (moved - top) * ROW_HEIGHT
    const active = activeId === undefined ? -1 : this._pages.positionOf(activeId)
    if (active >= 0) this.active = active
    this.draw()
  }

  _later() {
    cancelAnimationFrame(this._frame)
    this._frame = requestAnimationFrame(() => this.draw())
  }

  draw() {
    const total = this._pages.total ?? 0
    this.active = Math.max(0, Math.min(this.active, total - 1))
    this._setHeight()
    const [first, last] = this._range(total)
    for (const [position, row] of this._rows) {
      if (position >= first && position <= last) continue
      row.element.remove()
      this._rows.delete(position)
      this._spare.push(row)
    }
    const focused = document.activeElement === this.element
    for (let position = first; position <= last; position++) this._drawRow(position, total, focused)
    this._spare.length = Math.min(this._spare.length, 2 * MARGIN)
    const active = this._rows.get(this.active)
    if (active && total) this.element.setAttribute('aria-activedescendant', active.element.id)
    else this.element.removeAttribute('aria-activedescendant')
    if (total) this._pages.show(first, last).catch((error) => this._state.trouble(error))
  }

  /** Draw one task again, where it is in view. */
  drawTask(taskId) {
    for (const [position, row] of this._rows) {
      if (row.element.dataset.taskId !== taskId) continue
      this._drawRow(position, this._pages.total ?? 0, document.activeElement === this.element)
      return
    }
  }

  _drawRow(position, total, focused) {
    let row = this._rows.get(position)
    if (!row) {
      row = this._spare.pop() ?? new TaskRow(this._routes)
      row.element.style.top = `${position * ROW_HEIGHT}px`
      this._rows.set(position, row)
      this._space.append(row.element)
    }
    const record = this._pages.at(position)
    const progress = record && this._state.progress.get(record.task_id)
    row.show(record, { position, total, progress, active: focused && position === this.active, status: this._state.status })
  }

  _setHeight() {
    this._space.style.height = `${(this._pages.total ?? 0) * ROW_HEIGHT}px`
  }

  _range(total) {
    const { scrollTop, clientHeight } = this.element
    const first = Math.max(0, Math.floor(scrollTop / ROW_HEIGHT) - MARGIN)
    return [first, Math.min(total - 1, Math.ceil((scrollTop + clientHeight) / ROW_HEIGHT) + MARGIN)]
  }

  _click(event) {
    const row = event.target.closest('[data-wfr="task"]')
    if (!row) return
    this.active = Number(row.getAttribute('aria-posinset')) - 1
    this._open()
  }

  _open() {
    const record = this._pages.at(this.active)
    if (record) this._onOpen(record)
  }

  _key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const total = this._pages.total ?? 0
    const screenful = Math.max(1, Math.floor(this.element.clientHeight / ROW_HEIGHT) - 1)
    const target = {
      ArrowDown: this.active + 1,
      ArrowUp: this.active - 1,
      PageDown: this.active + screenful,
      PageUp: this.active - screenful,
      Home: 0,
      End: total - 1,
    }[event.key]
    if (target === undefined && event.key !== 'Enter' && event.key !== ' ') return
    // ComfyUI's own shortcuts must not act on what was meant for the list.
    event.preventDefault()
    event.stopPropagation()
    if (target === undefined) return this._open()
    this.active = Math.max(0, Math.min(total - 1, target))
    this._reveal()
    this.draw()
  }

  _reveal() {
    const { element } = this
    const top = this.active * ROW_HEIGHT
    if (top < element.scrollTop) element.scrollTop = top
    else if (top + ROW_HEIGHT > element.scrollTop + element.clientHeight)
      element.scrollTop = top + ROW_HEIGHT - element.clientHeight
  }
}
