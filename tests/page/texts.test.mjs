import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { afterEach, test } from 'node:test'

import { Settings } from '../../web/wfrecovery/data/settings.mjs'
import { currentLanguage, isChinese, t, useLanguage } from '../../web/wfrecovery/texts.mjs'

const ROOT = new URL('../../', import.meta.url)
const json = (path) => JSON.parse(readFileSync(new URL(path, ROOT), 'utf8'))
const locale = (language, name) => json(`locales/${language}/${name}.json`)
const FILES = ['main', 'commands', 'settings', 'nodeDefs']

/** Every text in an object, by its path. */
function flat(value, path = []) {
  if (typeof value === 'string') return [[path.join(' → '), value]]
  return Object.entries(value).flatMap(([key, inner]) => flat(inner, [...path, key]))
}

/** The texts that the modules show. */
function textsOfTheCode() {
  const folder = new URL('web/wfrecovery/', ROOT)
  const modules = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith('.mjs'))
  const code = modules.map((name) => readFileSync(new URL(name, folder), 'utf8'))
  const found = code.flatMap((text) => [...text.matchAll(/\bt\(\s*'((?:[^'\\]|\\.)*)'/g)].map((match) => match[1].replaceAll("\\'", "'")))
  return [...new Set(found)].sort()
}

afterEach(() => useLanguage('en'))

test('both languages have exactly the texts that the panel shows', () => {
  const shown = textsOfTheCode()
  assert.ok(shown.length > 80)
  for (const language of ['en', 'zh']) assert.deepEqual(Object.keys(locale(language, 'main').wfrecovery).sort(), shown, language)
})

test('every file has the same texts in both languages', () => {
  for (const name of FILES) {
    const keys = (language) => flat(locale(language, name)).map(([key]) => key).sort()
    assert.deepEqual(keys('zh'), keys('en'), name)
  }
})

test('Chinese is Chinese, and English is not', () => {
  const han = /[\u4e00-\u9fff]/
  const names = new Set(['提示词', '产品图', '模特图', '产品名', '模特名', '图片合成', '图生视频', '产品模特合成图', '视频是否已实现', '失败'])
  for (const name of FILES) {
    for (const [key, text] of flat(locale('zh', name))) {
      assert.ok(han.test(text) || key === 'wfrecovery → , ' || text === 'Prompt ID', `${name}: ${key} is ${text}`)
    }
    for (const [key, text] of flat(locale('en', name))) {
      const rest = [...names].reduce((left, word) => left.replaceAll(word, ''), text)
      assert.ok(text && !han.test(rest), `${name}: ${key} is ${text}`)
    }
  }
})

test('a translation keeps every placeholder', () => {
  const places = (text) => (text.match(/\{\w+\}/g) ?? []).sort()
  for (const [text, chinese] of Object.entries(locale('zh', 'main').wfrecovery)) assert.deepEqual(places(chinese), places(text), text)
})

test('menu, commands and settings of the code are those of the locales', () => {
  const entry = readFileSync(new URL('web/wfrecovery.js', ROOT), 'utf8')
  const commands = [...entry.matchAll(/id: '(wfrecovery\.\w+)', label: '([^']+)'/g)]
  assert.equal(commands.length, 3)
  const { menuLabels, settingsCategories } = locale('en', 'main')
  for (const [, id, label] of commands) {
    assert.equal(locale('en', 'commands')[id.replaceAll('.', '_')].label, label)
    assert.equal(menuLabels[label], label)
  }
  const texts = locale('en', 'settings')
  const settings = new Settings({}).definitions()
  assert.deepEqual(settings.map(({ id }) => id.replaceAll('.', '_')).sort(), Object.keys(texts).sort())
  for (const { id, name, tooltip, options, category } of settings) {
    const { name: shown, tooltip: hint, options: choices } = texts[id.replaceAll('.', '_')]
    assert.deepEqual([shown, hint, Object.keys(choices ?? {})], [name, tooltip, (options ?? []).map(({ text }) => text)])
    for (const label of category.slice(0, 2)) assert.ok(label in settingsCategories, label)
  }
})

test('what has no translation is English, never empty', async () => {
  await useLanguage('zh', async () => ({ zh: { wfrecovery: { Retry: '重试', Cancel: '' } } }))
  assert.equal(t('Retry'), '重试')
  assert.equal(t('Cancel'), 'Cancel')
  assert.equal(t('Row {row}', { row: 67 }), 'Row 67')
  await useLanguage('ja', async () => ({ zh: { wfrecovery: { Retry: '重试' } } }))
  assert.equal(t('Retry'), 'Retry')
})

test('traditional Chinese reads the simplified texts', async () => {
  await useLanguage('zh-TW', async () => ({ zh: { wfrecovery: { Retry: '重试' } } }))
  assert.equal(t('Retry'), '重试')
  assert.ok(isChinese())
})

test('the language that was chosen last stays, also when its texts come first', async () => {
  let answer
  const slow = useLanguage('zh', () => new Promise((resolve) => (answer = resolve)))
  await useLanguage('en')
  answer({ zh: { wfrecovery: { Retry: '重试' } } })
  await slow
  assert.equal(currentLanguage(), 'en')
  assert.equal(t('Retry'), 'Retry')
})
