import assert from "node:assert/strict";
import { test } from "node:test";

import { match } from "../../../evcharge/sidecar/page/src/core/router.js";
import { doing, Rows } from "../../../evcharge/sidecar/page/src/overview/rows.js";

const connector = (more) => ({
  connector: 1,
  state: "SUPPLYING",
  occupied: true,
  min_w: 0,
  max_w: 22_000,
  power_w: 0,
  energy_wh: 0,
  ...more,
});
const point = (cp_id, state, connectors = []) => ({
  cp_id,
  state,
  substation_id: "north",
  holds: [],
  engine: "up",
  monitor: "up",
  connectors,
});

const POINTS = new Map(
  [
    point("CP-10", "SUPPLYING", [connector({ session_id: "s-1", driver: "anna", power_w: 5_000 })]),
    point("CP-9", "SUPPLYING", [connector({ session_id: "s-2", driver: "Ben", power_w: 9_000 })]),
    point("CP-2", "OUT_OF_ORDER"),
  ].map((each) => [each.cp_id, each]),
);
const ALL = { text: "", state: "", substation: "" };
const AT = { version: 1, shape: 1 };
const ids = (filter, sort) => new Rows().view(POINTS, AT, { ...ALL, ...filter }, sort).map((each) => each.cp_id);

test("ids stand in the order in which people count", () => {
  assert.deepEqual(ids({}, { key: "cp", down: false }), ["CP-2", "CP-9", "CP-10"]);
  assert.deepEqual(ids({}, { key: "cp", down: true }), ["CP-10", "CP-9", "CP-2"]);
});

test("the largest power first, faults first", () => {
  assert.deepEqual(ids({}, { key: "power", down: false }), ["CP-9", "CP-10", "CP-2"]);
  assert.equal(ids({}, { key: "state", down: false })[0], "CP-2");
});

test("every word of a filter has to fit, in any case", () => {
  assert.deepEqual(ids({ text: "BEN north" }, { key: "cp", down: false }), ["CP-9"]);
  assert.deepEqual(ids({ text: "ben south" }, { key: "cp", down: false }), []);
  assert.deepEqual(ids({ state: "SUPPLYING", text: "anna" }, { key: "cp", down: false }), ["CP-10"]);
});

test("a changed meter is sorted anew, and only then", () => {
  const rows = new Rows();
  const sort = { key: "power", down: false };
  const first = rows.view(POINTS, AT, ALL, sort);
  assert.equal(rows.view(POINTS, AT, ALL, sort), first);
  POINTS.get("CP-10").connectors[0].power_w = 20_000;
  assert.equal(rows.view(POINTS, { version: 2, shape: 1 }, ALL, sort)[0].cp_id, "CP-10");
});

test("what a charge point does is the sum of its connectors", () => {
  const two = point("CP-1", "SUPPLYING", [
    connector({ power_w: 1_000, session_id: "a", driver: "x", energy_wh: 5 }),
    connector({ power_w: 2_000, session_id: "b", driver: "y", energy_wh: 7, why: "because" }),
  ]);
  const found = doing(two);
  assert.deepEqual(
    [found.power_w, found.energy_wh, found.drivers, found.main.session_id],
    [3_000, 12, ["x", "y"], "b"],
  );
});

test("an address with a strange id is its page; one that cannot be read is none", () => {
  const routes = [
    { pattern: "", page: "overview" },
    { pattern: "charge-points/:id", page: "point" },
  ];
  const at = (path) => match(routes, new URL(`http://site${path}`));
  assert.equal(at("/ui/").page, "overview");
  assert.deepEqual(
    [at("/ui/charge-points/CP%2F1.2").page, at("/ui/charge-points/CP%2F1.2").place.params.id],
    ["point", "CP/1.2"],
  );
  assert.equal(at("/ui/charge-points/%E0%A4%A").page, null);
  assert.equal(at("/ui/charge-points").page, null);
});
