import assert from "node:assert/strict";
import { test } from "node:test";

/** A stream of these events that stays open; the page's own reading of it, without a browser. */
async function told(...events) {
  const text = events.map(([name, data]) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`).join("");
  const body = new ReadableStream({ start: (stream) => stream.enqueue(new TextEncoder().encode(text)) });
  globalThis.window = { addEventListener() {}, removeEventListener() {} };
  globalThis.fetch = async () => new Response(body);
  const { Live } = await import("../../../evcharge/sidecar/page/src/core/live.js");
  let taken = 0;
  const live = await new Promise((resolve) => {
    const made = new Live({
      // The stream became live, then each event.
      changed: () => (taken += 1) > events.length && resolve(made),
      unauthorized: () => assert.fail("nobody said so"),
    });
  });
  live.close();
  return live;
}

const record = (seq) => ["record", { seq, kind: "supply_started" }];
const hello = (resumed) => ["hello", { now_ms: 1, speed: 1, link: { state: "connected", since_ms: 1 }, resumed }];

test("behind a gap the records of another, shorter log are taken", async () => {
  const live = await told(hello(true), record(4999), record(5000), ["gap", { from_seq: 1, to_seq: 7 }], record(8));
  assert.deepEqual(
    live.records.all.map((each) => each.seq),
    [8],
  );
});

test("what stands on a page is asked for anew behind a gap", async () => {
  const before = (await told(hello(true), record(1))).generation;
  const live = await told(hello(true), record(1), ["gap", { from_seq: 2, to_seq: 9 }]);
  assert.equal(live.records.last, 9);
  assert.ok(live.generation > before);
});
