/** The weather at each place of the site, and what it closes. */

import { age, clock, duration } from "../core/format.js";
import { html, nothing } from "../core/html.js";
import { WEATHER, words } from "../core/words.js";
import { simulated } from "../parts/badges.js";
import { pageHead, table } from "../parts/blocks.js";
import { icon } from "../parts/icons.js";
import { Loader } from "../parts/loader.js";
import { empty, fact, loading, panel, trouble } from "../parts/panel.js";
import { name, plain, said } from "../parts/text.js";

/** @import { Opener } from "../app.js" */

/** Providers are asked every ten minutes; a minute shows it soon enough. */
const AGAIN_MS = 60_000;

/** @type {Opener} */
export function weatherPage(app) {
  const { api, live } = app;
  /** @type {Loader<any>} */
  const weather = new Loader((signal) => api.get("/api/weather", signal), app.update);
  const timer = setInterval(() => void weather.load(), AGAIN_MS);
  return {
    title: "Weather",
    view() {
      const now = live.clock.now();
      const told = weather.value;
      return html`<div class="page">${pageHead("Weather", told === null ? nothing : told.simulated ? simulated(true) : html`<span class="muted">from ${plain(told.provider)}</span>`)}
        ${weather.now.state === "failed" ? trouble(weather.now.why) : nothing}
        ${panel(
          "Alerts in force",
          live.alerts.length === 0
            ? html`<p class="empty good">${icon("check")} No alert.</p>`
            : table(
                "Alerts",
                [["Alert"], ["Where"], ["Since"], ["Temperature", "number"], ["From"]],
                live.alerts.map((alert) => [
                  html`<strong>${WEATHER[alert.kind] ?? plain(words(alert.kind))}</strong> ${simulated(alert.simulated)}`,
                  name(alert.cp_id ?? alert.substation_id ?? "whole site"),
                  html`${clock(alert.since_ms)} <small class="muted">${age(alert.since_ms, now)}</small>`,
                  alert.temperature_c == null ? "–" : `${alert.temperature_c.toFixed(1)} °C`,
                  said(alert.detail ?? ""),
                ]),
              ),
        )}
        <div class="places">${
          told === null
            ? weather.now.state === "failed"
              ? nothing
              : loading()
            : told.places.length === 0
              ? empty("No place is set up; [weather] of the settings names them.")
              : told.places.map((/** @type {any} */ place) => card(place))
        }</div></div>`;
    },
    close() {
      clearInterval(timer);
      weather.close();
    },
  };
}

/** @param {any} place */
function card(place) {
  const seen = place.observation;
  return panel(
    plain(place.place),
    html`
    ${place.trouble || place.state === "unavailable" ? trouble(place.why || "The provider fails; alerts stay as they are.") : nothing}
    ${seen === null ? empty("No observation yet.") : html`<div class="big"><strong>${seen.temperature_c.toFixed(1)} °C</strong> <span class="muted">${duration(seen.age_s * 1000)} old</span></div>`}
    <dl class="facts list">${fact("For", place.substation_id === null ? "the whole site" : name(place.substation_id))}
      ${
        seen === null
          ? nothing
          : html`${fact("Wind", seen.wind_m_s === null ? "–" : `${seen.wind_m_s.toFixed(1)} m/s, gusts ${seen.gust_m_s === null ? "–" : `${seen.gust_m_s.toFixed(1)} m/s`}`)}
        ${fact("Thunderstorm", seen.thunderstorm === null ? "–" : seen.thunderstorm ? "yes" : "no")}`
      }
      ${fact("Provider", place.simulated ? simulated(true) : plain(place.provider))}
      ${place.alerts.length === 0 ? nothing : fact("Alerts", html`<ul>${place.alerts.map((/** @type {any} */ alert) => html`<li>${WEATHER[alert.kind] ?? alert.kind}${alert.refused ? `, not taken: ${plain(alert.refused)}` : alert.told ? "" : ", not told yet"}</li>`)}</ul>`)}</dl>`,
  );
}
