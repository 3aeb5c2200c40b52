/** What ComfyUI's page loads. When anything here fails, ComfyUI works as if it were not there. */

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { Page } from './wfrecovery/page.mjs'

/** Each after those whose rules it overrides. */
const STYLES = ['base', 'panel', 'controls', 'messages', 'list', 'detail', 'setup', 'preview', 'decisions', 'narrow']

for (const name of STYLES) {
  const link = document.createElement('link')
  link.rel = 'stylesheet'
  link.href = new URL(`./wfrecovery/styles/${name}.css`, import.meta.url)
  document.head.append(link)
}

const page = new Page(app, api, window.localStorage)

app.registerExtension({
  name: 'wfrecovery',
  commands: [
    { id: 'wfrecovery.recover', label: 'Recover tasks', icon: 'pi pi-history', function: page.command(page.recover) },
    { id: 'wfrecovery.tasks', label: 'Show tasks', icon: 'pi pi-list', function: page.command(page.showTasks) },
    { id: 'wfrecovery.sheet', label: 'Open the Feishu sheet', icon: 'pi pi-table', function: page.command(page.openSheet) },
  ],
  menuCommands: [
    { path: ['Extensions', 'Workflow Recovery'], commands: ['wfrecovery.recover', 'wfrecovery.tasks', 'wfrecovery.sheet'] },
  ],
  settings: page.settings.definitions(),
  setup: () => page.setup(),
})
