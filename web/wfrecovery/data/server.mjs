/** Talking to the plugin's routes through ComfyUI's own `api`. */

import { serverLanguage } from '../texts.mjs'

/** The kinds of trouble that concern the whole page, not one request. */
export const OFFLINE = 'offline'
export const MISSING = 'missing'

/** Milliseconds after which a request that others wait for counts as not answered. */
const PATIENCE = 60_000

/** A request that was not answered as wished; `kind` is the server's `error.type`, or OFFLINE or MISSING. */
export class ServerError extends Error {
  constructor(kind, message, status = 0) {
    super(message)
    this.name = 'ServerError'
    this.kind = kind
    this.status = status
  }
}

/** The routes, each as a function that returns the parsed answer or throws a ServerError. */
export function routesOf(api) {
  const get = (path, options) => request(api, path, options)
  // What is refused is shown to people.
  const post = (path, body = {}, options = {}) =>
    request(api, `${path}?lang=${serverLanguage()}`, {
      ...options,
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'Content-Type': 'application/json' },
    })
  const patiently = () => ({ signal: AbortSignal.timeout(PATIENCE) })
  const task = (id) => `/tasks/${encodeURIComponent(id)}`
  return {
    status: () => get('/status', patiently()),
    tasks: (query, signal) => get(`/tasks${queryText(query)}`, { signal }),
    task: (id) => get(task(id)),
    graph: (id) => get(`${task(id)}/graph`),
    recover: () => post('/recover'),
    takeOver: (owner) => post('/recover', { take_over: owner }),
    act: (id, action, named) => post(`${task(id)}/${action}`, named),
    actOnAll: (action, what) => post(`/tasks/${action}`, what),
    preview: () => get('/preview'),
    settings: () => get('/settings', patiently()),
    /** Arrives also from a page that is being closed. */
    saveSettings: (changes) => post('/settings', changes, { ...patiently(), keepalive: true }),
    sheet: (language) => get(`/sheet?lang=${language}`),
    doctor: (language) => get(`/doctor?lang=${language}`),
    translations: async () => {
      const response = await api.fetchApi('/i18n')
      return response.ok ? response.json() : {}
    },
    rows: (id, language, number) => get(`${task(id)}/rows${queryText({ lang: language, row_number: number })}`),
    candidates: (id) => get(`${task(id)}/candidates`),
    results: (id, language) => get(`${task(id)}/results?lang=${language}`),
    thumbnailUrl: (record) =>
      api.apiURL(`/wfrecovery${task(record.task_id)}/thumbnail${queryText({ of: record.metadata?.finished_at })}`),
    /** What became of a task's picture that could not be loaded, as `results` names it; null where it is another trouble. */
    goneThumbnail: (record) =>
      get(`${task(record.task_id)}/thumbnail`).then(
        () => null,
        ({ kind, status }) => (status === 410 ? kind.replace(/^result_/, '') : null),
      ),
    /** A small picture of a file in the output folder that is no task's yet: ComfyUI's own route shows it. */
    pictureUrl: (path) => {
      const [name, folder] = [path.replace(/^.*\//, ''), path.replace(/\/?[^/]*$/, '')]
      return api.apiURL(`/view${queryText({ filename: name, subfolder: folder, type: 'output', preview: 'webp;60' })}`)
    },
    fileUrl: (record, path) => api.apiURL(`/wfrecovery${task(record.task_id)}/file${queryText({ path })}`),
  }
}

function queryText(query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== '')
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : ''
}

async function request(api, path, options = {}) {
  let response
  // The browser's own language is another one where ComfyUI was set to this.
  const headers = { 'Accept-Language': serverLanguage(), ...options.headers }
  try {
    response = await api.fetchApi(`/wfrecovery${path}`, { ...options, headers })
  } catch (error) {
    if (error.name === 'AbortError') throw error
    throw new ServerError(OFFLINE, error.message)
  }
  const answer = await response.json().catch(() => null)
  if (response.ok && answer !== null) return answer
  if (answer?.error) throw new ServerError(answer.error.type, answer.error.message, response.status)
  // A proxy in front of a ComfyUI that is gone answers with a page of its own.
  const kind = [404, 405].includes(response.status) ? MISSING : OFFLINE
  throw new ServerError(kind, `${response.status} ${response.statusText}`, response.status)
}
