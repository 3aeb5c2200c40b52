/** A recovery as the page sees it: begun here or by the start of ComfyUI, followed, and told of once at its end. */

import { recoverySummary } from '../words.mjs'

const TOLD = 'wfrecovery.told'
/** Milliseconds between two looks while one runs, in case an event is lost. */
const LOOK_EVERY = 1000

export class RecoveryWatch {
  /** `tell({severity, summary, detail})` shows a toast. `storage` keeps what was told over reloads. */
  constructor({ state, routes, storage, tell }) {
    this._state = state
    this._routes = routes
    this._storage = storage
    this._tell = tell
    /** runs that were asked for here: their end is told even when there was nothing to do */
    this._mine = new Set()
    state.on('status', ({ status }) => this._look(status.recovery))
  }

  /** Begin one, or join the one under way. Throws a ServerError. */
  async start() {
    const { recovery } = await this._routes.recover()
    this._mine.add(recovery.started_at)
    await this._state.load()
  }

  _look(recovery) {
    clearTimeout(this._timer)
    if (recovery.state === 'running') {
      this._timer = setTimeout(() => this._state.load(), LOOK_EVERY)
      return
    }
    const { started_at: run } = recovery
    if (!run || !recovery.finished_at) return
    const mine = this._mine.delete(run)
    if (!mine && (!recovery.total || this._storage.getItem(TOLD) === run)) return
    this._storage.setItem(TOLD, run)
    this._tell(recoverySummary(recovery))
  }
}
