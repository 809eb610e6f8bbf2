/**
 * When to draw. What a person did is drawn with the next frame; what the stream brought waits until 200 ms have passed
 * since the last picture, so that two thousand meters a second cost five pictures a second and not sixty.
 */

/** Milliseconds between two pictures that only the stream asked for. */
export const STREAM_MS = 200;

/** @typedef {{ now: () => void, soon: () => void, stop: () => void }} Schedule */

/**
 * @param {() => void} draw
 * @returns {Schedule}
 */
export function schedule(draw) {
  let frame = 0;
  let timer = 0;
  let drawn = -STREAM_MS;

  function run() {
    frame = 0;
    clearTimeout(timer);
    timer = 0;
    drawn = performance.now();
    draw();
  }

  function now() {
    if (frame === 0) frame = requestAnimationFrame(run);
  }

  function soon() {
    if (frame !== 0 || timer !== 0) return;
    const left = drawn + STREAM_MS - performance.now();
    if (left <= 0) now();
    else timer = setTimeout(now, left);
  }

  function stop() {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
    frame = timer = 0;
  }

  return { now, soon, stop };
}
