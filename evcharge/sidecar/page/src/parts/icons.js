/** Small drawings, in the colour of the text beside them; decoration, because a word always stands with them. */

import { html, svg } from "../core/html.js";

/** @type {Record<string, string>} */
const PATHS = {
  bolt: "M9.2 1 3 9h4.2L6.4 15 13 6.6H8.6z",
  plug: "M5.5 1v3M10.5 1v3M3.5 4.5h9v3a4.5 4.5 0 0 1-9 0zM8 12v3",
  pause: "M5 3v10M11 3v10",
  cross: "m3.5 3.5 9 9m0-9-9 9",
  cut: "M2 8h3.5M10.5 8H14M7 5v6M9 5v6M3 13 13 3",
  check: "m2.5 8.5 3.5 3.5 7.5-8",
  dot: "M8 6.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3",
  sun: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6M8 1v1.5M8 13.500v1.5M1 8h1.5M13.500 8H15M3 3l1.100 1.100M11.900 11.900 13 13M13 3l-1.100 1.100M4.100 11.900 3 13",
  moon: "M13.500 9.800A6 6 0 0 1 6.200 2.500a6 6 0 1 0 7.300 7.300z",
  battery: "M1.500 5h11v6h-11zM14.500 7v2M4 7v2M6.500 7v2M9 7v2",
  grid: "M8 1v14M3.500 5.500h9M5 9.500h6M4 15 8 1l4 14",
  alert: "M8 1.800 15 14H1zM8 6v4M8 12v.1",
  clock: "M8 1.500a6.500 6.500 0 1 0 0 13 6.500 6.500 0 0 0 0-13M8 4.500V8l2.500 1.500",
  shield:
    "M8 1.500 13.500 3.500v4c0 3.500-2.300 5.800-5.500 7-3.200-1.200-5.500-3.500-5.500-7v-4zM5.500 8l2 2 3.200-3.600",
  coin: "M8 1.500a6.500 6.500 0 1 0 0 13 6.500 6.500 0 0 0 0-13M10.300 5.800A3 3 0 1 0 10.300 10.200M4.500 7.300h4M4.500 8.900h4",
  leaf: "M2.500 13.500C3 6 7 2.500 13.500 2.500c0 6.500-3 10-8 9.500M2.500 13.500 9 7",
  search: "M7 2a5 5 0 1 0 0 10A5 5 0 0 0 7 2m3.600 8.600L14.500 14.500",
  copy: "M5.500 5.500h8v8h-8zM3 10.500H2.500v-8h8V3",
  down: "M8 2v8M4.500 7 8 10.500 11.500 7M2.500 13.500h11",
  user: "M8 2a3 3 0 1 0 0 6 3 3 0 0 0 0-6M2.500 14c.5-3 2.700-4.500 5.500-4.500s5 1.500 5.500 4.500",
  left: "M10 3 5 8l5 5",
};
/** Those that are surfaces rather than lines. */
const FILLED = new Set(["bolt", "dot", "moon"]);

/** @param {string} which */
export function icon(which) {
  const path = PATHS[which] ?? PATHS["dot"];
  return html`<svg class="icon ${FILLED.has(which) ? "filled" : ""}" viewBox="0 0 16 16" aria-hidden="true">${svg`<path d=${path}></path>`}</svg>`;
}
