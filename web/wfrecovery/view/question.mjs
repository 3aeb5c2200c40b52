/** A question in a dialog, before something is done whose meaning a person should have read. */

import { button, fill, h } from './dom.mjs'

export class Question {
  /**
   * `meaning` is what is read, `choice` what is chosen from; `yes` and `no` name the buttons, `hook` is the `data-wfr` of the
   * first. `onYes()` does it, and may throw what then is shown; `onClosed()` gives the focus back.
   */
  constructor({ hook, title, meaning, choice, yes, no, onYes, onClosed }) {
    this._onYes = onYes
    this._error = h('p', { class: 'wfr-problem', role: 'alert', hidden: true })
    this._yes = button({ hook, label: yes, kind: 'wfr-primary', onclick: () => this._do() })
    this._no = button({ hook: `${hook}-leave`, label: no, onclick: () => this.close() })
    this._dialog = h(
      'dialog',
      {
        class: 'wfr-root wfr-preview wfr-question',
        'data-wfr': `${hook}-dialog`,
        'aria-labelledby': 'wfr-question-title',
        'aria-describedby': 'wfr-question-meaning',
        // keys typed here are not meant for ComfyUI's shortcuts; Escape closes, as in every dialog
        onkeydown: (event) => event.stopPropagation(),
        onclose: () => {
          this._dialog.remove()
          onClosed()
        },
      },
      h('h2', { id: 'wfr-question-title' }, title),
      h('p', { id: 'wfr-question-meaning' }, meaning),
      choice && h('div', { class: 'wfr-choice' }, choice),
      this._error,
      h('div', { class: 'wfr-buttons wfr-preview-buttons' }, this._yes, this._no),
    )
    this.take(!choice)
  }

  ask() {
    document.body.append(this._dialog)
    this._dialog.showModal()
    this._no.focus() // a key that was pressed once too often does nothing
  }

  close() {
    this._dialog.close()
  }

  /** What is chosen by now: before that, nothing can be done. */
  take(chosen) {
    this._taken = Boolean(chosen)
    this._yes.disabled = !this._taken
    this._complain('')
  }

  /** Do something for it; what goes wrong is shown in it. Answers whether it went well. */
  async attempt(action) {
    try {
      await action()
      return true
    } catch (trouble) {
      this._complain(trouble.message)
      return false
    }
  }

  _complain(text) {
    fill(this._error, text)
    this._error.hidden = !text
  }

  async _do() {
    this._yes.disabled = true
    if (await this.attempt(this._onYes)) this.close()
    else this._yes.disabled = !this._taken
  }
}
