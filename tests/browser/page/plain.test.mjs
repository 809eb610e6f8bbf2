import assert from "node:assert/strict";
import { test } from "node:test";

import { plain } from "../../../evcharge/sidecar/page/src/core/plain.js";

test("what would act or hide is seen instead", () => {
  assert.equal(plain("a\u0000b\u001b[31m"), "a\u2400b\u241b[31m");
  assert.equal(plain("evil\u202egnp.exe"), "evil\u27e8U+202E\u27e9gnp.exe");
  assert.equal(plain("zero\u200bwidth\ufeff"), "zero\u27e8U+200B\u27e9width\u27e8U+FEFF\u27e9");
  assert.equal(plain("line\u2028end\u0085"), "line\u27e8U+2028\u27e9end\u27e8U+0085\u27e9");
  assert.equal(plain("\u{e0041}\ud800"), "\u27e8U+E0041\u27e9\u27e8U+D800\u27e9");
});

test("every language stays as it is", () => {
  for (const text of ["شركة الشحن", "חברה", "充電", "Ñandú", "🚗"]) assert.equal(plain(text), text);
});

test("a very long one ends", () => {
  assert.equal(plain("x".repeat(10_000)).length, 301);
  assert.equal(plain(null), "");
});
