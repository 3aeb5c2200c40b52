/** On a narrow screen ComfyUI leaves a sidebar of some fifty pixels: then the panel lies over the canvas instead. */

/** Below this width, in pixels, the panel cannot be used within its place; it then takes up to WIDE. */
const NARROW = 180
const WIDE = 340

/** Keep `panel`, which fills `container`, usable at any width; returns what ends that. */
export function floatWhenNarrow(container, panel) {
  const place = () => {
    const { left, right, top, width } = container.getBoundingClientRect()
    const floats = width < NARROW
    panel.classList.toggle('wfr-floating', floats)
    const { innerWidth } = window
    const onTheRight = left > innerWidth / 2
    const style = floats
      ? {
          top: `${top}px`,
          left: onTheRight ? 'auto' : `${left}px`,
          right: onTheRight ? `${innerWidth - right}px` : 'auto',
          width: `${Math.min(WIDE, onTheRight ? right : innerWidth - left)}px`,
        }
      : { top: '', left: '', right: '', width: '' }
    Object.assign(panel.style, style)
  }
  const observer = new ResizeObserver(place)
  observer.observe(container)
  window.addEventListener('resize', place)
  return () => {
    observer.disconnect()
    window.removeEventListener('resize', place)
  }
}
