/**
 * `<ev-chart>`: uPlot in an element that follows its size and the colour scheme. It is a picture to assistive programs,
 * described by `summary`; what matters in it stands in text or in a table beside it.
 */

import uPlot from "../../vendor/uplot/uPlot.esm.js";
import { clock, full } from "../core/format.js";
import { colour } from "./theme.js";

/**
 * @typedef {object} Series
 * @property {string} label
 * @property {string} token colour, of tokens.css
 * @property {"line" | "step" | "bars"} kind
 * @property {boolean} [fill]
 * @property {boolean} [dashed]
 */

/**
 * @typedef {object} Spec
 * @property {string} summary one sentence for who cannot see it
 * @property {string} unit
 * @property {Series[]} series
 * @property {boolean} [days] x are days, not instants
 * @property {number} [from_ms] left end; otherwise the first instant
 * @property {number} [until_ms]
 * @property {(value: number) => string} [text] a value for people
 */

/** @typedef {[number[], ...(number | null)[][]]} Data first instants in ms, then a row of values for each series */

const FONT = "11px system-ui, sans-serif";
const SHORT = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** @param {Series} series */
function paths(series) {
  const { bars, stepped } = uPlot.paths;
  if (series.kind === "bars") return bars?.({ size: [0.7, 48], radius: 0.15 });
  return series.kind === "step" ? stepped?.({ align: 1 }) : undefined;
}

class Chart extends HTMLElement {
  /** @type {Spec | null} */
  #spec = null;
  /** @type {Data} */
  #data = [[]];
  /** @type {uPlot | null} */
  #plot = null;
  /** What the plot was made for: a new one only where the old one cannot show it. */
  #made = "";
  #sizes = new ResizeObserver(() => this.#size());
  #again = () => this.#build();

  /** @param {Spec} spec */
  set spec(spec) {
    this.#spec = spec;
    this.setAttribute("role", "img");
    this.setAttribute("aria-label", spec.summary);
    const key = JSON.stringify([spec.series, spec.unit, spec.days]);
    if (key !== this.#made && this.isConnected) this.#build();
  }

  /** @param {Data} data the same object again is taken as unchanged */
  set data(data) {
    if (data === this.#data) return;
    this.#data = data;
    this.#plot?.setData(this.#scaled());
  }

  connectedCallback() {
    this.#sizes.observe(this);
    window.addEventListener("evcharge-theme", this.#again);
    this.#build();
  }

  disconnectedCallback() {
    this.#sizes.disconnect();
    window.removeEventListener("evcharge-theme", this.#again);
    this.#plot?.destroy();
    this.#plot = null;
    this.#made = "";
  }

  #scaled() {
    const [xs, ...rows] = this.#data;
    return /** @type {uPlot.AlignedData} */ ([xs.map((x) => x / 1000), ...rows]);
  }

  #size() {
    if (this.clientWidth > 0) this.#plot?.setSize({ width: this.clientWidth, height: this.clientHeight });
  }

  #build() {
    const spec = this.#spec;
    if (spec === null || !this.isConnected) return;
    this.#plot?.destroy();
    this.#made = JSON.stringify([spec.series, spec.unit, spec.days]);
    this.#plot = new uPlot(this.#options(spec), this.#scaled(), this);
  }

  /**
   * @param {Spec} spec
   * @returns {uPlot.Options}
   */
  #options(spec) {
    const ink = colour("--muted");
    const grid = { stroke: colour("--line", 0.7), width: 1 };
    const axis = { stroke: ink, font: FONT, grid, ticks: { show: false } };
    return {
      width: Math.max(80, this.clientWidth),
      height: Math.max(60, this.clientHeight),
      legend: { show: false },
      padding: [8, 18, 0, 0],
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      scales: {
        x: { time: true, range: (_plot, min, max) => this.#range(min, max) },
        y: { range: (_plot, _min, max) => [0, Math.max(max ?? 0, 1) * 1.08] },
      },
      axes: [
        { ...axis, size: 24, space: 56, values: (_plot, xs) => xs.map((x) => this.#tick(x * 1000)) },
        { ...axis, size: 42, space: 28 },
      ],
      series: [{}, ...spec.series.map((each) => this.#series(each))],
      hooks: { setCursor: [(plot) => this.#read(plot)], ready: [(plot) => this.#readout(plot)] },
    };
  }

  /** @param {Series} each @returns {uPlot.Series} */
  #series(each) {
    const made = paths(each);
    return {
      label: each.label,
      stroke: colour(each.token),
      width: each.kind === "bars" ? 0 : 1.75,
      points: { show: false },
      spanGaps: false,
      ...(each.fill || each.kind === "bars" ? { fill: colour(each.token, each.kind === "bars" ? 0.85 : 0.16) } : {}),
      ...(each.dashed ? { dash: [5, 4] } : {}),
      ...(made === undefined ? {} : { paths: made }),
    };
  }

  /** @param {number} min @param {number} max @returns {[number, number]} */
  #range(min, max) {
    const { from_ms, until_ms, days } = this.#spec ?? {};
    const half = days ? 43_200 : 0;
    const from = from_ms === undefined ? (min ?? 0) - half : from_ms / 1000;
    const until = until_ms === undefined ? (max ?? from + 60) + half : until_ms / 1000;
    return [from, Math.max(until, from + 60)];
  }

  /** @param {number} at_ms */
  #tick(at_ms) {
    if (this.#spec?.days) return SHORT.format(at_ms);
    const at = new Date(at_ms);
    return at.getHours() === 0 && at.getMinutes() === 0 ? SHORT.format(at_ms) : clock(at_ms);
  }

  /** @param {uPlot} plot */
  #readout(plot) {
    const line = document.createElement("div");
    line.className = "chart-readout";
    plot.over.append(line);
  }

  /** @param {uPlot} plot */
  #read(plot) {
    const line = plot.over.querySelector(".chart-readout");
    const spec = this.#spec;
    if (line === null || spec === null) return;
    const at = plot.cursor.idx;
    const x = at === null || at === undefined ? undefined : this.#data[0][at];
    if (at === null || at === undefined || x === undefined) {
      line.textContent = "";
      return;
    }
    const text = spec.text ?? ((value) => value.toFixed(1));
    const said = spec.series.flatMap((each, n) => {
      const value = this.#data[n + 1]?.[at];
      return value === null || value === undefined ? [] : [`${each.label} ${text(value)} ${spec.unit}`];
    });
    line.textContent = [spec.days ? SHORT.format(x) : full(x), ...said].join("  ·  ");
  }
}

customElements.define("ev-chart", Chart);
