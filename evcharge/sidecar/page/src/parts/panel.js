/** Frames in which things stand, and the ways in which something can be missing. */

import { html, nothing } from "../core/html.js";
import { icon } from "./icons.js";
import { said } from "./text.js";

let last = 0;
/** @type {Map<string, string>} */
const ids = new Map();

/**
 * A part of the page with a heading that names it as a region.
 * @param {string} title
 * @param {unknown} body
 * @param {{ kind?: string, aside?: unknown, level?: 2 | 3 }} [more]
 */
export function panel(title, body, { kind = "", aside = nothing } = {}) {
  let id = ids.get(title);
  if (id === undefined) ids.set(title, (id = `h-${(last += 1)}`));
  return html`<section class="panel ${kind}" aria-labelledby=${id}>
    <header class="panel-head"><h2 id=${id}>${title}</h2>${aside}</header>${body}</section>`;
}

/** @param {unknown} text */
export const empty = (text) => html`<p class="empty">${text}</p>`;

/** @param {string} text */
export const trouble = (text) => html`<p class="trouble" role="status">${icon("alert")}<span>${said(text)}</span></p>`;

export const loading = () => html`<p class="empty" aria-busy="true">Loading …</p>`;

/**
 * A pair of a term and what it is, for a `<dl class="facts">`.
 * @param {string} term
 * @param {unknown} value
 */
export const fact = (term, value) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`;
