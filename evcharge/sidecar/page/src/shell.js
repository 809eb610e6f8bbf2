/** What stands around every page: header, navigation, the banner that says what is away, and the keys. */

import { clockSeconds, duration, kw } from "./core/format.js";
import { html, nothing } from "./core/html.js";
import { show } from "./parts/dialog.js";
import { icon } from "./parts/icons.js";
import { name } from "./parts/text.js";
import { switchTheme, theme } from "./parts/theme.js";

/** @import { User } from "./core/types.js" */
/** @import { Live } from "./core/live.js" */

const PAGES = /** @type {const} */ ([
  ["/ui/", "Overview"],
  ["/ui/history", "History"],
  ["/ui/substations", "Substations"],
  ["/ui/drivers", "Drivers"],
  ["/ui/registration", "Registration"],
  ["/ui/audit", "Audit"],
  ["/ui/weather", "Weather"],
]);

/**
 * How the picture is, in a few words; the same words on every page.
 * @param {Live} live
 * @returns {{ tone: string, word: string }}
 */
export function linkState(live) {
  if (live.stream === "connecting") return { tone: "stopped", word: "Connecting …" };
  if (live.stream === "lost") return { tone: "fault", word: `Stale, ${duration(live.age_ms / live.clock.speed)} old` };
  if (live.link.state !== "connected") return { tone: "fault", word: "Central away" };
  if (!live.drawn) return { tone: "stopped", word: "Waiting for the picture" };
  return { tone: "supplying", word: "Live" };
}

/**
 * @param {Live} live
 * @param {User} user
 * @param {string} path
 * @param {() => void} logout
 */
export function header(live, user, path, logout) {
  const { tone, word } = linkState(live);
  return html`
    <a class="skip" href="#main">Skip to content</a>
    <header class="top">
      <a class="brand" href="/ui/"><img src="/ui/assets/style/icon.svg" alt="" width="24" height="24"><span>evcharge</span></a>
      <nav aria-label="Pages"><ul>${PAGES.map(
        ([to, label]) => html`
        <li><a href=${to} aria-current=${path === to ? "page" : nothing}>${label}</a></li>`,
      )}</ul></nav>
      <p class="link tone-${tone}" data-testid="link-state"><span class="lamp"></span><span>${word}</span></p>
      <p class="site-time" title="Time of the site${live.clock.speed === 1 ? "" : `, ${live.clock.speed} times as fast`}">
        <time>${live.clock.told ? clockSeconds(live.clock.now()) : ""}</time>${
          live.clock.speed === 1 ? nothing : html`<span class="speed">×${live.clock.speed}</span>`
        }</p>
      <button class="round" type="button" @click=${switchTheme} aria-label=${theme() === "dark" ? "Use light colours" : "Use dark colours"}
        >${icon(theme() === "dark" ? "sun" : "moon")}</button>
      <details class="menu">
        <summary><span class="unseen">User menu: </span>${icon("user")}<span class="who">${name(user.name)}</span></summary>
        <div class="menu-body">
          <p>${name(user.name)}<br><span class="muted">${user.role}</span></p>
          <button type="button" class="quiet" @click=${keys}>Keys</button>
          <button type="button" class="quiet" @click=${logout}>Log out</button>
        </div>
      </details>
    </header>`;
}

/**
 * What is away, since when, what that means, and that it comes back by itself.
 * @param {Live} live
 */
export function banner(live) {
  if (live.stream === "lost" || (live.stream === "connecting" && live.lost_ms !== null)) {
    return bar(
      "No connection to the sidecar",
      live.lost_ms,
      live,
      live.drawn ? "You see the last picture." : "Nothing is known yet.",
    );
  }
  if (live.link.state === "connected") return nothing;
  const safe_w = live.substations.filter((node) => !node.parent).reduce((sum, node) => sum + (node.fallback_w ?? 0), 0);
  const means = live.drawn
    ? `You see the last picture. Charge points go on by themselves and fall back to ${kw(safe_w)} kW together.`
    : "There is no picture yet.";
  return bar("Central is away", live.link.since_ms ?? null, live, means);
}

/**
 * @param {string} what
 * @param {number | null} since_ms
 * @param {Live} live
 * @param {string} means
 */
function bar(what, since_ms, live, means) {
  const since =
    since_ms === null
      ? ""
      : ` since ${clockSeconds(since_ms)} (${duration((live.clock.now() - since_ms) / live.clock.speed)})`;
  return html`<div class="banner" role="alert" data-testid="banner">${icon("alert")}
    <p><strong>${what}</strong><span aria-live="off">${since}</span>. ${means} It is tried again by itself.</p></div>`;
}

/** The keys that work everywhere. */
export function keys() {
  closeMenus();
  const row = (/** @type {string} */ key, /** @type {string} */ does) =>
    html`<div><dt><kbd>${key}</kbd></dt><dd>${does}</dd></div>`;
  show(
    "Keys",
    html`<dl class="keys">
    ${row("/", "to the filter")}${row("↑ ↓", "from row to row of a table")}${row("Enter", "open the row")}
    ${row("Esc", "clear the filter, close what is open")}${row("g then o", "overview")}${row("g then h", "history")}
    ${row("g then a", "audit")}${row("?", "this list")}</dl>`,
  );
}

export function closeMenus() {
  for (const menu of document.querySelectorAll("details.menu[open]")) menu.removeAttribute("open");
}
