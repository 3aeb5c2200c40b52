/** Building elements. Data only ever becomes text or attributes, never markup. */

/**
 * An element. `attributes`: `class`, `data-…`, `aria-…` and the like as attributes, `on…` functions as listeners,
 * `null`, `undefined` and `false` are left out, `true` is an empty attribute.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value)
    else if (value === true) element.setAttribute(name, '')
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, String(value))
  }
  element.append(...present(children))
  return element
}

/** Replace what is in an element. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children))
  return element
}

/** An icon of the PrimeIcons font that ComfyUI's page brings; decoration only. */
export function icon(name, className = '') {
  return h('i', { class: `pi pi-${name} ${className}`.trim(), 'aria-hidden': 'true' })
}

/** Set a text only when it changed: a screen reader and the selection are left in peace. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text
}

/** A button with an icon and a label; `hook` is its `data-wfr`. One that is `off` can still hold the focus. */
export function button({ hook, label, iconName, onclick, kind = '', title, pressed, off = false }) {
  return h(
    'button',
    { type: 'button', class: `wfr-button ${kind}`.trim(), 'data-wfr': hook, onclick: off ? null : onclick, title, 'aria-pressed': pressed, 'aria-disabled': off && 'true' },
    iconName && icon(iconName),
    h('span', {}, label),
  )
}

function present(children) {
  return children.flat().filter((child) => child !== null && child !== undefined && child !== false && child !== '')
}
