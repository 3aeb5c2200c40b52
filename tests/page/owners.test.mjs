import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'

import { isAttended, lifeText, othersOf, otherOwnerOf, ownerName, takeOverText, waitsElsewhere, whoseNote, whoseText } from '../../web/wfrecovery/owners.mjs'
import { useLanguage } from '../../web/wfrecovery/texts.mjs'
import { actionsOf, isCancelling, stageText } from '../../web/wfrecovery/words.mjs'
import { record, status } from './support.mjs'

afterEach(() => useLanguage('en'))

const NAME = 'ComfyUI 127.0.0.1:8189'
const owned = (boot, { stage = 'queued', kind = 'comfyui', ...more } = {}) => {
  const made = record(1, { stage })
  Object.assign(made.metadata, { owner: { kind, boot }, ...more })
  return made
}
const among = (...others) =>
  status({ owner: 'ours', owners: [{ boot: 'ours', kind: 'comfyui', name: 'ComfyUI 127.0.0.1:8188', life: 'ours', tasks: 3 }, ...others] })
const other = (life, more = {}) => ({ boot: 'theirs', kind: 'comfyui', name: NAME, name_zh: NAME, life, tasks: 2, ...more })

test("nothing is said of this ComfyUI's own tasks, of those that nobody has, and of what has ended", () => {
  const now = among(other('alive'))
  for (const stage of ['created', 'queued', 'running']) assert.equal(whoseText(owned('ours', { stage }), now), '')
  assert.equal(whoseText(record(1, { stage: 'queued' }), now), '')
  for (const stage of ['finished', 'failed', 'cancelled']) assert.equal(whoseText(owned('theirs', { stage }), now), '')
})

test('nothing is said before the server has said who it is, nor by an older one', () => {
  for (const silent of [null, undefined, status()]) {
    assert.equal(whoseText(owned('theirs'), silent), '')
    assert.deepEqual(othersOf(silent), [])
    assert.ok(isAttended(owned('theirs'), silent))
  }
})

test('where a task is, or what becomes of it, stands there in words', () => {
  const main = { kind: 'main', name: 'main.py on studio (process 7)' }
  for (const [owner, more, expected] of [
    [other('alive'), {}, `On ${NAME}`],
    [other('alive', main), main, 'main.py on studio (process 7)'],
    [other('doubt'), {}, `Not sure whether ${NAME} still runs; known within 90 s`],
    [other('dead'), {}, `${NAME} is gone: taken over in a moment`],
    [other('dead'), { engine: 'comfyui' }, `${NAME} is gone: taken over in a moment`],
    [other('dead', main), { ...main, stage: 'created' }, 'main.py on studio (process 7) is gone: the next main.py goes on'],
    [other('dead', main), { ...main, engine: 'runninghub' }, 'main.py on studio (process 7) is gone: the next main.py goes on'],
  ]) {
    const task = owned('theirs', { kind: more.kind, ...more })
    assert.equal(whoseText(task, among(owner)), expected)
    assert.equal(isAttended(task, among(owner)), owner.life === 'alive')
  }
})

test('a line of the list says the same in few words, the important ones first', () => {
  const main = { stage: 'created', kind: 'main' }
  assert.equal(whoseNote(owned('theirs'), among(other('alive'))), `On ${NAME}`)
  assert.equal(whoseNote(owned('theirs'), among(other('doubt'))), `Still running? ${NAME}`)
  assert.equal(whoseNote(owned('theirs'), among(other('dead'))), 'Its owner is gone: taken over in a moment')
  assert.equal(whoseNote(owned('theirs', main), among(other('dead'))), 'Its owner is gone: the next main.py goes on')
  assert.equal(whoseNote(owned('ours'), among(other('dead'))), '')
})

test('an owner of which the status does not tell yet has the name of its kind', () => {
  for (const [kind, name] of [
    ['comfyui', 'On another ComfyUI'],
    ['main', 'a main.py'],
    ['of a newer version', 'another program'],
  ]) {
    assert.equal(whoseText(owned('unheard', { kind }), among()), name)
    assert.ok(isAttended(owned('unheard', { kind }), among()))
  }
  assert.equal(otherOwnerOf(owned('unheard'), among()).boot, 'unheard')
})

test('a name is given in the language of the reader where it has one in that', async () => {
  const owner = other('alive', { name: 'main.py on studio (process 7)', name_zh: 'studio 上的 main.py（进程 7）' })
  await useLanguage('zh', async () => ({}))
  assert.equal(ownerName(owner), 'studio 上的 main.py（进程 7）')
})

test('others are listed while they have tasks', () => {
  assert.deepEqual(othersOf(among(other('alive', { tasks: 0 }))), [])
  assert.deepEqual(othersOf(among(other('dead'))).map(({ boot }) => boot), ['theirs'])
})

test('what this ComfyUI has refused waits for another one', () => {
  const now = among(other('alive'))
  const refused = record(1, { stage: 'queued' })
  refused.metadata.refused_by = ['ours']
  assert.equal(whoseText(refused, now), 'Waits for a ComfyUI that has its nodes')
  assert.ok(waitsElsewhere(refused, now))
  refused.metadata.refused_by = ['theirs']
  assert.equal(whoseText(refused, now), '')
  refused.metadata.refused_by = ['ours']
  refused.metadata.owner = { kind: 'comfyui', boot: 'theirs' }
  assert.equal(whoseText(refused, now), `On ${NAME}`)
  assert.equal(whoseText({ ...refused, metadata: { stage: 'failed', refused_by: ['ours'] } }, now), '')
})

test('each owner has its words, and so has taking over from it', () => {
  const said = new Set()
  for (const kind of ['comfyui', 'main']) {
    for (const life of ['alive', 'doubt', 'dead']) {
      assert.ok(lifeText({ kind, life }))
      said.add(takeOverText({ kind, life }))
    }
  }
  assert.equal(said.size, 5) // of a doubtful one, whatever it is, the same
  assert.match(takeOverText({ kind: 'comfyui', life: 'alive' }), /perhaps twice/)
})

test('what a person wants to end says so until it has', () => {
  for (const stage of ['created', 'queued', 'running', 'asking']) {
    const task = owned('ours', { stage, cancel_requested: '2026-11-23T10:00:00+08:00' })
    assert.ok(isCancelling(task))
    assert.equal(stageText(task), 'Being cancelled…')
    assert.ok(actionsOf(task).cancel)
  }
  const ended = owned('ours', { stage: 'cancelled', cancel_requested: '2026-11-23T10:00:00+08:00' })
  assert.ok(!isCancelling(ended))
  assert.equal(stageText(ended), 'Cancelled')
})
