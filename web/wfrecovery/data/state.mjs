/** What the page knows of the plugin: its status, the connection, live progress. Kept while the panel is closed. */

import { MISSING, OFFLINE } from './server.mjs'

/** Ways in which the server side can be: `older` = it answers, but not with what this page needs. */
export const CONNECTION = { starting: 'starting', online: 'online', offline: OFFLINE, missing: MISSING, older: 'older' }

/** Milliseconds between two tries while ComfyUI does not answer. */
const RETRY_EVERY = 2000

export class State extends EventTarget {
  constructor(routes) {
    super()
    this._routes = routes
    this.status = null
    this.connection = CONNECTION.starting
    this.progress = new Map()
  }

  on(kind, listener, options) {
    this.addEventListener(kind, (event) => listener(event.detail), options)
  }

  emit(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }))
  }

  /** Make the names of our events known: ComfyUI reports one that nobody listens to as an error. */
  announceTo(api) {
    for (const name of ['status', 'task', 'progress']) api.addEventListener(`wfrecovery.${name}`, () => {})
  }

  /** Listen to what ComfyUI's websocket brings. */
  listenTo(api) {
    api.addEventListener('wfrecovery.status', (event) => this.take(event.detail))
    api.addEventListener('wfrecovery.task', (event) => this._takeTasks(event.detail?.tasks ?? []))
    api.addEventListener('wfrecovery.progress', (event) => this._takeProgress(event.detail))
    api.addEventListener('reconnecting', () => this._lost())
    api.addEventListener('reconnected', () => this.load())
  }

  /** Ask for the status. Never throws: what goes wrong is the connection's state. */
  async load() {
    clearTimeout(this._retry)
    try {
      this.take(await this._routes.status())
    } catch (error) {
      this.trouble(error)
    }
  }

  /** A status has come. */
  take(status) {
    if (!status?.boot_id || !status.tasks) return
    const restarted = this.status && this.status.boot_id !== status.boot_id
    const before = this.status
    this.status = status
    if (restarted) this.progress.clear()
    this._connect(isComplete(status) ? CONNECTION.online : CONNECTION.older)
    this.emit('status', { status, before, restarted })
  }

  /** An error of a request: whether it concerns the connection, and if so takes note. */
  trouble(error) {
    if (error.kind === OFFLINE) this._lost()
    else if (error.kind === MISSING) this._connect(CONNECTION.missing)
    else return false
    return true
  }

  _lost() {
    this._connect(CONNECTION.offline)
    clearTimeout(this._retry)
    this._retry = setTimeout(() => this.load(), RETRY_EVERY)
  }

  _connect(connection) {
    if (connection === this.connection) return
    const before = this.connection
    this.connection = connection
    this.emit('connection', { connection, before })
  }

  _takeTasks(records) {
    for (const record of records) if (record.metadata?.stage !== 'running') this.progress.delete(record.task_id)
    this.emit('tasks', records)
  }

  _takeProgress(progress) {
    if (!progress?.task_id) return
    this.progress.set(progress.task_id, progress)
    this.emit('progress', progress)
  }
}

/** Whether the server side has all that this page asks for. */
function isComplete(status) {
  return typeof status.attention === 'number' && typeof status.feishu?.configured === 'boolean'
}
