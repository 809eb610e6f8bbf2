/**
 * The site's time. It is told with every connection and runs on by the browser's steady clock: a wrong wall clock on a
 * phone changes no age, and a demo that runs fast is followed at its speed.
 */

export class SiteClock {
  #at_ms = Date.now();
  #steady_ms = performance.now();

  /** How many site seconds pass in one. */
  speed = 1;

  /** Whether the site's time was told at all; until then it is the browser's own. */
  told = false;

  /**
   * @param {number} now_ms
   * @param {number} speed
   */
  set(now_ms, speed) {
    this.#at_ms = now_ms;
    this.#steady_ms = performance.now();
    this.speed = speed > 0 ? speed : 1;
    this.told = true;
  }

  /** @returns {number} site time, UTC milliseconds */
  now() {
    return this.#at_ms + (performance.now() - this.#steady_ms) * this.speed;
  }
}
