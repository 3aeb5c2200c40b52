import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'

const WEB = new URL('../../web/', import.meta.url)

test('every style sheet is loaded, the one for narrow panels last', () => {
  const entry = readFileSync(new URL('wfrecovery.js', WEB), 'utf8')
  const loaded = [...entry.match(/const STYLES = \[([^\]]+)\]/)[1].matchAll(/'(\w+)'/g)].map(([, name]) => `${name}.css`)
  assert.deepEqual([...loaded].sort(), readdirSync(new URL('wfrecovery/styles/', WEB)).sort())
  assert.equal(loaded.at(-1), 'narrow.css')
})
