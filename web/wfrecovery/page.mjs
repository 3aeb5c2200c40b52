/**
 * The parts of the page, put together: what lives as long as the page does, and what menu and panel call.
 *
 * `data/` talks to the server and keeps what it answered, `view/` draws it with the sheets of `styles/`; both word it with
 * `texts` and `words`. `data/` imports nothing of `view/`, and neither imports this module.
 */

import { RecoveryWatch } from './data/recovery.mjs'
import { ServerError, MISSING, OFFLINE, routesOf } from './data/server.mjs'
import { Settings } from './data/settings.mjs'
import { CONNECTION, State } from './data/state.mjs'
import { TaskPages } from './data/task_pages.mjs'
import { onLanguageChange, serverLanguage, t, useLanguage } from './texts.mjs'
import { mainResult, titleOf } from './words.mjs'
import { queryOf } from './view/filters.mjs'
import { floatWhenNarrow } from './view/floating.mjs'
import { Panel } from './view/panel.mjs'
import { Preview } from './view/preview.mjs'

export const TAB = 'wfrecovery'

export class Page {
  /** `app` and `api` are ComfyUI's; `storage` is the browser's localStorage. */
  constructor(app, api, storage) {
    this._app = app
    this._api = api
    this.routes = routesOf(api)
    this.state = new State(this.routes)
    this.state.announceTo(api)
    this.pages = new TaskPages(this.routes.tasks, () => this.pages.onChange())
    this.pages.onChange = () => {}
    this.chosen = { status: '', workflow: '', q: '' }
    this.settings = new Settings({
      routes: this.routes,
      dialog: () => app.extensionManager.setting,
      complain: (summary, detail) => this._toast({ severity: 'warn', summary, detail }),
      trouble: (error) => this.state.trouble(error),
    })
    const tell = (message) => this._toast(message)
    this._recovery = new RecoveryWatch({ state: this.state, routes: this.routes, storage, tell })
    this.preview = new Preview({ state: this.state, routes: this.routes, storage, onDone: (what) => this._decided(what) })
  }

  /** ComfyUI's page is ready. Nothing is waited for: ComfyUI waits for every extension. */
  setup() {
    this._registerTab()
    this.state.on('status', ({ status }) => {
      this._showBadge(status.attention)
      this.preview.offer()
    })
    this.state.on('connection', ({ connection, before }) => {
      if (connection !== CONNECTION.online) return
      if (before === CONNECTION.starting) this._loadFirstTasks()
      else this.settings.load()
    })
    this.state.listenTo(this._api)
    this._app.ui?.settings?.addEventListener?.('Comfy.Locale.change', () => setTimeout(() => this._useLanguage()))
    onLanguageChange(() => this._build())
    this._useLanguage()
    window.addEventListener('pagehide', () => this.settings.flush())
    // Another page may have changed them meanwhile.
    document.addEventListener('visibilitychange', () => document.hidden || this.settings.load())
    this.settings.load()
    this.state.load()
  }

  // ---------------------------------------------------------------- what menu and panel call

  /** Begin a recovery and show its progress. */
  recover = async () => {
    this.showTasks()
    await this._recovery.start()
  }

  /** Open the tab, if it is not open. */
  showTasks = () => {
    const tabs = this._app.extensionManager.sidebarTab
    if (tabs.activeSidebarTabId !== TAB) this._app.extensionManager.command.execute(`Workspace.ToggleSidebarTab.${TAB}`)
  }

  openSheet = async () => {
    // Opened before the answer is there: browsers allow a new window only while a click is handled.
    const tab = window.open('', '_blank')
    try {
      const { url } = await this.routes.sheet(serverLanguage())
      if (!/^https?:\/\//i.test(url)) throw new ServerError('bad_url', t('The sheet has no usable address: {url}', { url }))
      if (tab) {
        tab.opener = null
        tab.location.replace(url)
      } else this._toast({ severity: 'warn', summary: t('The browser did not open a window'), detail: url })
    } catch (error) {
      tab?.close()
      throw error
    }
  }

  openOutput(record) {
    window.open(this.routes.fileUrl(record, mainResult(record).path), '_blank', 'noopener')
  }

  /** Open a task's workflow in a tab of its own. */
  async loadWorkflow(record) {
    const { prompt, workflow } = await this.routes.graph(record.task_id)
    const name = titleOf(record)
    if (workflow) await this._app.loadGraphData(workflow, true, true, name)
    else await this._app.loadApiJson(prompt, name)
  }

  /** Run a menu command: what goes wrong is told in a toast. */
  command(action) {
    return async () => {
      try {
        await action()
      } catch (error) {
        this.state.trouble(error)
        this._toast({ severity: 'error', summary: t('Workflow Recovery'), detail: troubleText(error) })
      }
    }
  }

  // ---------------------------------------------------------------- within

  _registerTab() {
    this._app.extensionManager.registerSidebarTab({
      id: TAB,
      icon: 'pi pi-history',
      title: 'Tasks',
      tooltip: 'Tasks: recorded and recovered',
      type: 'custom',
      render: (container) => this._render(container),
      destroy: () => this._close(),
    })
  }

  /** ComfyUI may call this again with the same element. */
  _render(container) {
    if (this._panel && this._container === container && container.contains(this._panel.element)) return
    this._container = container
    container.style.height = '100%'
    this._build()
  }

  /** Build the panel where it is open: at first, and in another language. */
  _build() {
    if (!this._container) return
    this._panel?.destroy()
    this._panel = new Panel(this)
    this._container.replaceChildren(this._panel.element)
    this._stopFloating?.()
    this._stopFloating = floatWhenNarrow(this._container, this._panel.element)
  }

  _close() {
    this._stopFloating?.()
    this._panel?.destroy()
    this._panel = this._container = null
  }

  /** The tab as ComfyUI keeps it is reactive; the object that we registered is not. */
  _showBadge(attention) {
    const tab = this._app.extensionManager.getSidebarTabs().find(({ id }) => id === TAB)
    const badge = attention > 0 ? (attention > 99 ? '99+' : String(attention)) : null
    if (tab && tab.iconBadge !== badge) tab.iconBadge = badge
  }

  async _useLanguage() {
    const wanted = this._app.extensionManager.setting.get('Comfy.Locale')
    await useLanguage(wanted, () => this.routes.translations().catch(() => ({})))
  }

  /** So that the panel has something to show the moment it opens. */
  async _loadFirstTasks() {
    if (this.pages.total !== null) return
    try {
      await this.pages.setFilter(queryOf(this.chosen))
    } catch (error) {
      this.state.trouble(error)
    }
  }

  _decided({ action, done, error }) {
    const detail = error ?? (action === 'retry' ? t('Queued again: {n}', { n: done }) : t('Discarded: {n}', { n: done }))
    if (error || done) this._toast({ severity: error ? 'error' : 'success', summary: t('Workflow Recovery'), detail })
    this.state.load()
  }

  _toast({ severity, summary, detail }) {
    this._app.extensionManager.toast.add({ severity, summary, detail, life: severity === 'error' ? 12_000 : 8000 })
  }
}

function troubleText(error) {
  if (error.kind === OFFLINE) return t('ComfyUI does not answer.')
  if (error.kind === MISSING) return t('The server side of Workflow Recovery is not running.')
  return error.message
}
