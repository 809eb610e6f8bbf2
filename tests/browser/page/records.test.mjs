import assert from "node:assert/strict";
import { test } from "node:test";

import { Records } from "../../../evcharge/sidecar/page/src/core/records.js";

const record = (seq) => ({ seq, kind: "supply_started" });
const seqs = (records) => records.all.map((each) => each.seq);

test("what is sent again after a reconnect is taken once", () => {
  const records = new Records();
  for (const seq of [5, 6, 7, 6, 7, 8]) records.add(record(seq));
  assert.deepEqual(seqs(records), [5, 6, 7, 8]);
  assert.equal(records.last, 8);
});

test("older ones stand before those that came, each once", () => {
  const records = new Records();
  records.add(record(9));
  records.prepend([record(9), record(8), record(7)]);
  assert.deepEqual(seqs(records), [7, 8, 9]);
});

test("those behind a record, in order", () => {
  const records = new Records();
  for (const seq of [1, 4, 6]) records.add(record(seq));
  assert.deepEqual(
    records.after(3).map((each) => each.seq),
    [4, 6],
  );
  assert.deepEqual(records.after(6), []);
});

test("behind a hole nothing older is kept", () => {
  const records = new Records();
  records.add(record(3));
  records.gap();
  records.add(record(900));
  assert.deepEqual(seqs(records), [900]);
});

test("a busy log does not fill the memory", () => {
  const records = new Records();
  for (let seq = 1; seq <= 20_000; seq += 1) records.add(record(seq));
  assert.ok(records.all.length <= 3_300);
  assert.equal(records.all.at(-1).seq, 20_000);
});
