/** Records keep the plugin's own reasons in English; here they are put into the reader's language. */

import { t } from './texts.mjs'

/** As the server words them; `{…}` stands for what differs. A node's own message stays as it is. */
export const REASONS = [
  '{text} (out of GPU memory: a smaller picture or fewer frames may fit)',
  'ComfyUI reported an error',
  'ComfyUI reported an error without a message',
  'ComfyUI says it finished, but it wrote no file into the output folder',
  'ComfyUI says it finished, but {problem}',
  'ComfyUI went down {n} times while it ran; not tried again by itself',
  'cancelled by the user',
  'deleted from the queue by the user',
  'interrupted by the user',
  'it cannot be queued again: {reason}',
  'lost before it was submitted',
  'lost when ComfyUI ended; the setting says not to queue it again',
]

const PATTERNS = REASONS.map((reason) => {
  const names = [...reason.matchAll(/\{(\w+)\}/g)].map((match) => match[1])
  const literal = reason.split(/\{\w+\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return { reason, names, pattern: new RegExp(`^${literal.join('(.+)')}$`, 's') }
})

/** `text` in the reader's language where it is a reason of the plugin, else as it is. */
export function reasonText(text) {
  for (const { reason, names, pattern } of PATTERNS) {
    const match = pattern.exec(text ?? '')
    if (match) return t(reason, Object.fromEntries(names.map((name, index) => [name, match[index + 1]])))
  }
  return text ?? ''
}
