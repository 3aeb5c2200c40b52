/**
 * Texts in the user's language. The English text is the key, so a missing translation is English, never an empty label.
 * The translations are those of `locales/<language>/main.json` under `wfrecovery`, which ComfyUI serves with its own.
 */

let language = 'en'
let translations = {}
const listeners = new Set()

/** `text` in the user's language; `{name}` is replaced by `values.name`. */
export function t(text, values = {}) {
  const translated = translations[text] || text
  return translated.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole))
}

/** The language of the page, for dates and for what the server words itself. */
export function currentLanguage() {
  return language
}

/** Whether people here read Chinese. */
export function isChinese() {
  return language.toLowerCase().startsWith('zh')
}

/** The language in which the server words something for them. */
export function serverLanguage() {
  return isChinese() ? 'zh' : 'en'
}

/** Of two wordings of the server, the one people here read; the other where it is missing. */
export function worded(english, chinese) {
  return (isChinese() && chinese) || english || chinese || ''
}

/** Calls `listener` whenever the language or its texts change; returns what ends that. */
export function onLanguageChange(listener) {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

/** Change to `wanted`; `load` fetches ComfyUI's translations (`{language: {wfrecovery: {…}}}`). */
export async function useLanguage(wanted, load) {
  language = wanted || 'en'
  translations = {}
  if (!language.startsWith('en')) {
    const all = await load()
    if (language !== wanted) return // changed again meanwhile
    translations = all?.[language]?.wfrecovery ?? all?.[language.split('-')[0]]?.wfrecovery ?? {}
  }
  for (const listener of listeners) listener()
}
