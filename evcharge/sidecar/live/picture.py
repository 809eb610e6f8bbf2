"""The site as it was last told: the whole of it, and what changed since it was sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from evcharge.sidecar.live.rows import meters_between, shown, shown_part, with_meters
from evcharge.sidecar.live.sse import Audience, Tell, event
from protocol import messages as m

# Parts beside the charge points, in the order in which they are sent.
PARTS = (
    "substations", "optimization", "totals", "waiting", "reservations", "alerts", "plan", "incidents",
)  # fmt: skip


class Picture:
    """Rows by their ids, parts by their names, and what nobody was told yet of both."""

    def __init__(self) -> None:
        self.rows: dict[str, m.ChargePointView] = {}
        self.parts: dict[str, Any] = dict.fromkeys(PARTS)
        self._points: set[str] = set()
        self._meters: dict[str, dict[int, m.MeterView]] = defaultdict(dict)
        self._site: set[str] = set()

    # --- what is heard ------------------------------------------------------------------------------------------------

    def replace(self, rows: dict[str, m.ChargePointView]) -> None:
        """All charge points anew: another Central counts."""
        self.rows = rows
        self._points.clear()
        self._meters.clear()

    def update(self, rows: Iterable[m.ChargePointView], meters: Iterable[m.MeterView]) -> None:
        """Charge points that changed, and meters that went on after that."""
        for row in rows:
            old = self.rows.get(row.cp_id)
            self.rows[row.cp_id] = row
            if row.cp_id in self._points or old == row:
                continue
            went_on = None if old is None else meters_between(old, row)
            if went_on is None:
                self._points.add(row.cp_id)
                self._meters.pop(row.cp_id, None)
            else:
                self._note(went_on)
        newer: dict[str, list[m.MeterView]] = defaultdict(list)
        for meter in meters:
            newer[meter.cp_id].append(meter)
        for cp_id, told in newer.items():
            if (old := self.rows.get(cp_id)) is not None:
                self.rows[cp_id] = with_meters(old, told)
                if cp_id not in self._points:
                    self._note(told)

    def _note(self, meters: Iterable[m.MeterView]) -> None:
        for meter in meters:
            self._meters[meter.cp_id][meter.connector] = meter

    def put(self, name: str, value: Any) -> None:
        """A part as it is now."""
        if self.parts[name] != value:
            self.parts[name] = value
            self._site.add(name)

    # --- what is told -------------------------------------------------------------------------------------------------

    @property
    def news(self) -> bool:
        """There is something that nobody was told."""
        return bool(self._points or self._meters or self._site)

    def whole(self, chain: Any, at_ms: int, audience: Audience) -> bytes:
        """The event ``picture``; ``at_ms`` is when it was heard, site time."""
        points = [shown(row, audience) for row in self.rows.values()]
        parts = {name: shown_part(name, value, audience) for name, value in self.parts.items()}
        said = {"charge_points": points, **parts, "chain": chain, "at_ms": at_ms}
        return event("picture", msgspec.json.encode(said))

    def take_points(self) -> Tell | None:
        """The event ``points``, if there is one."""
        rows = [self.rows[cp_id] for cp_id in self._points]
        self._points.clear()
        if not rows:
            return None
        return lambda audience: event("points", msgspec.json.encode({"rows": [shown(row, audience) for row in rows]}))

    def take_meters(self) -> Tell | None:
        """The event ``meters``, if there is one."""
        meters = [meter for each in self._meters.values() for meter in each.values()]
        self._meters.clear()
        if not meters:
            return None
        # Nobody is named in it.
        written = event("meters", msgspec.json.encode({"rows": meters}))
        return lambda _audience: written

    def take_site(self) -> Tell | None:
        """The event ``site``, if there is one."""
        parts = {name: self.parts[name] for name in PARTS if name in self._site}
        self._site.clear()
        if not parts:
            return None

        def written(audience: Audience) -> bytes:
            said = {name: shown_part(name, value, audience) for name, value in parts.items()}
            return event("site", msgspec.json.encode(said))

        return written
