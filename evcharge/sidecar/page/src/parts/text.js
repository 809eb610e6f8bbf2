/**
 * Text of strangers: ids, names, details. A template never makes markup of it; `plain` takes its power to hide and to
 * reorder, and here it gets a line of its own direction.
 */

import { html } from "../core/html.js";
import { plain } from "../core/plain.js";

export { plain };

/**
 * A name in a line of its own direction, cut by CSS where it is too long, whole in its title.
 * @param {unknown} text
 */
export function name(text) {
  const shown = plain(text);
  return html`<bdi class="name" title=${shown}>${shown}</bdi>`;
}

/**
 * A sentence that may contain names.
 * @param {unknown} text
 */
export function said(text) {
  return html`<bdi class="said">${plain(text, 600)}</bdi>`;
}
