import assert from "node:assert/strict";
import { test } from "node:test";

import { clock, clockSeconds, full, NOTHING, when } from "../../../evcharge/sidecar/page/src/core/format.js";

test("a figure that is no time is nothing, and no error that stops the page", () => {
  for (const at_ms of [9e15, -9e18, Number.NaN, null, undefined, 0]) {
    for (const format of [clock, clockSeconds, full]) assert.equal(format(at_ms), NOTHING);
    assert.equal(when(at_ms, 1_700_000_000_000), NOTHING);
  }
  assert.notEqual(clock(8.64e15), NOTHING);
});
