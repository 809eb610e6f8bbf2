/** Starts the page: who is there, which address, and one place where everything is drawn. */

import { Api, Problem } from "./core/api.js";
import { faultsOf } from "./core/faults.js";
import { html, keyed, render } from "./core/html.js";
import { Live } from "./core/live.js";
import { forgetRecords } from "./core/records.js";
import { match, Router } from "./core/router.js";
import { schedule } from "./core/schedule.js";
import { overview } from "./overview/overview.js";
import { auditPage } from "./pages/audit.js";
import { chargePointPage } from "./pages/charge-point.js";
import { driversPage } from "./pages/drivers.js";
import { historyPage } from "./pages/history.js";
import { loginView } from "./pages/login.js";
import { missingPage } from "./pages/missing.js";
import { registrationPage } from "./pages/registration.js";
import { sessionPage } from "./pages/session.js";
import { substationsPage } from "./pages/substations.js";
import { weatherPage } from "./pages/weather.js";
import { Announcer } from "./parts/announcer.js";
import { closeMenus, banner, header, keys } from "./shell.js";
import { restoreTheme } from "./parts/theme.js";
import "./parts/chart.js";

/** @import { App, Opener } from "./app.js" */
/** @import { Place, Route } from "./core/router.js" */
/** @import { Page } from "./core/types.js" */

/** @type {Route<Opener>[]} */
const ROUTES = [
  { pattern: "", page: overview },
  { pattern: "charge-points/:id", page: chargePointPage },
  { pattern: "sessions/:id", page: sessionPage },
  { pattern: "history", page: historyPage },
  { pattern: "substations", page: substationsPage },
  { pattern: "registration", page: registrationPage },
  { pattern: "drivers", page: driversPage },
  { pattern: "audit", page: auditPage },
  { pattern: "weather", page: weatherPage },
];

/** What somebody has to know whose logging out was not answered. */
const STILL_IN =
  "You may still be logged in: the sidecar did not end the session. Reload this page when it answers, and log out again.";
/** While the sidecar does not answer at the start, it is asked again so often. */
const AGAIN_MS = 1_500;
/** Ages and clocks move on also when no news comes. */
const TICK_MS = 1_000;

class Main {
  /** @type {HTMLElement} */
  #root = /** @type {HTMLElement} */ (document.getElementById("app"));
  #api = new Api(() => this.#unauthorized());
  #schedule = schedule(() => this.#draw());
  /** @type {Live | null} */
  #live = null;
  /** @type {Page | null} */
  #page = null;
  /** @type {Place} */
  #place = match(ROUTES, new URL(location.href)).place;
  #router = new Router((url, moved) => this.#show(url, moved));
  #announcer = new Announcer();
  /** @type {(() => import("./core/faults.js").Fault[]) | null} */
  #faults = null;
  /** Why nothing can be shown yet. @type {string | null} */
  #waiting = "Opening …";
  #login = loginView(this.#api, { entered: () => this.#enter(), update: () => this.#schedule.now() });

  start() {
    restoreTheme();
    window.addEventListener("evcharge-theme", () => this.#schedule.now());
    document.addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("click", (event) => {
      if (!(event.target instanceof Element && event.target.closest("details.menu"))) closeMenus();
    });
    setInterval(() => this.#schedule.soon(), TICK_MS);
    void this.#who();
  }

  async #who() {
    try {
      await this.#api.me();
      this.#enter();
    } catch (error) {
      const known = error instanceof Problem && error.status === 401;
      this.#waiting = known ? null : "The sidecar does not answer; it is tried again by itself.";
      if (!known) setTimeout(() => void this.#who(), AGAIN_MS);
      this.#schedule.now();
    }
  }

  #enter() {
    this.#waiting = null;
    this.#live = new Live({ changed: () => this.#schedule.soon(), unauthorized: () => this.#unauthorized() });
    this.#faults = faultsOf(this.#live);
    this.#announcer = new Announcer();
    this.#show(new URL(location.href), true);
  }

  #unauthorized() {
    this.#page?.close?.();
    this.#live?.close();
    this.#live = this.#page = null;
    this.#api.user = null;
    this.#schedule.now();
  }

  async #logout() {
    closeMenus();
    forgetRecords();
    try {
      await this.#api.logout();
    } catch (error) {
      // Only the sidecar can take the cookie away: whoever comes next to this browser must not find it unsaid.
      if (!(error instanceof Problem && error.status === 401)) this.#login.warn(STILL_IN);
    }
    this.#unauthorized();
  }

  /** @param {URL} url @param {boolean} moved */
  #show(url, moved) {
    const found = match(ROUTES, url);
    this.#place = found.place;
    if (this.#live !== null && (moved || this.#page === null)) {
      this.#page?.close?.();
      this.#page = (found.page ?? missingPage)(this.#app(this.#live), () => this.#place);
      document.title = `${this.#page.title} · evcharge`;
      closeMenus();
      window.scrollTo(0, 0);
      if (moved) this.#arrive();
    }
    this.#schedule.now();
  }

  /** Whoever follows a link with the keyboard goes on in the page that it opens, not behind the link that is gone. */
  #arrive() {
    const from = document.activeElement;
    requestAnimationFrame(() =>
      requestAnimationFrame(() => {
        if (from !== document.body && !from?.isConnected)
          document.getElementById("main")?.focus({ preventScroll: true });
      }),
    );
  }

  /** @param {Live} live @returns {App} */
  #app(live) {
    return {
      api: this.#api,
      live,
      update: () => this.#schedule.now(),
      go: (to) => this.#router.go(to),
      replace: (to) => this.#router.replace(to),
    };
  }

  #draw() {
    const live = this.#live;
    const user = this.#api.user;
    if (live === null || user === null || this.#page === null) {
      render(
        this.#waiting === null ? this.#login.view() : html`<main class="lone"><p>${this.#waiting}</p></main>`,
        this.#root,
      );
      return;
    }
    const overviewing = this.#place.path === "/ui/";
    document.documentElement.classList.toggle("fitted", overviewing);
    if (live.drawn && live.fresh && this.#faults !== null) this.#announcer.look(this.#faults());
    render(
      html`<div class="shell ${overviewing ? "overviewing" : ""}">
      ${header(live, user, this.#place.path, () => void this.#logout())}
      ${banner(live)}
      <main id="main" tabindex="-1" class=${live.drawn && !live.fresh ? "stale" : ""} data-page=${this.#page.title}>
        ${keyed(this.#page, this.#page.view())}</main></div>`,
      this.#root,
    );
  }

  /** The first of two keys such as `g h`. */
  #first = "";

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "Escape") closeMenus();
    const target = event.target;
    const typing =
      target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
    if (
      typing ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      document.querySelector("dialog[open]") ||
      this.#live === null
    )
      return;
    const to = this.#first === "g" ? { o: "/ui/", h: "/ui/history", a: "/ui/audit" }[event.key] : undefined;
    this.#first = event.key;
    if (to !== undefined) this.#router.go(to);
    else if (event.key === "?") keys();
    else if (event.key === "/") this.#page?.filter?.()?.focus();
    else return;
    event.preventDefault();
  }
}

new Main().start();
