// Run by `node --test tests/browser/page/*.test.mjs`: what of the page needs no browser.

import assert from "node:assert/strict";
import { test } from "node:test";

import { EventParser } from "../../../evcharge/sidecar/page/src/core/stream.js";

const TEXT = [
  ": alive\n\n",
  "retry: 1000\n\n",
  'event: hello\ndata: {"now_ms":1}\n\n',
  'event: record\nid: 7\ndata: {"seq":7}\n\n',
  "data: one\r\ndata:two\r\n\r\n",
  "event: nothing\n\n",
].join("");

const EVENTS = [
  { name: "hello", data: '{"now_ms":1}', id: null },
  { name: "record", data: '{"seq":7}', id: "7" },
  { name: "message", data: "one\ntwo", id: null },
];

test("a stream that is cut anywhere gives the same events", () => {
  for (let cut = 0; cut <= TEXT.length; cut += 1) {
    const parser = new EventParser();
    assert.deepEqual([...parser.feed(TEXT.slice(0, cut)), ...parser.feed(TEXT.slice(cut))], EVENTS, `cut at ${cut}`);
  }
});

test("character by character, too", () => {
  const parser = new EventParser();
  assert.deepEqual(
    [...TEXT].flatMap((character) => parser.feed(character)),
    EVENTS,
  );
});

test("an event that never ends is given up", () => {
  const parser = new EventParser();
  const piece = "x".repeat(4_000_000);
  assert.throws(() => {
    for (let n = 0; n < 9; n += 1) parser.feed(piece);
  }, /too long/);
});
