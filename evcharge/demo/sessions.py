"""The day that the demo plays: real charging sessions from a file, or a seeded synthetic day.

The file is a CSV with a header; the columns ``arrival, departure, delivered_kwh, station_id`` are read,
others are ignored. Instants are ISO 8601 *with* offset: the local date of a session is the date as written.
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec

COLUMNS = ("arrival", "departure", "delivered_kwh", "station_id")
# Most energy of one stay, in kWh: four times the largest truck battery on sale; more is a slipped unit.
MAX_KWH = Decimal(4000)
# Longest station id that is still a charge point id after cleaning. SPEC §7.1 (MAX_ID)
MAX_STATION = 64
# A bay is handed over in this time when two stays of the file overlap: one car out, the next one in.
HANDOVER_MS = 60_000
# Most sessions of one day: each costs a driver with its own credential and channel.
MAX_SESSIONS = 2_000

_MINUTE_MS = 60_000
_HOUR_MS = 3_600_000


class SessionsError(ValueError):
    """The file cannot be played; the sentence names file and line and says what is wrong."""


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """One car at one station: UTC milliseconds and watt-hours."""

    station_id: str
    arrival_ms: int
    departure_ms: int
    energy_wh: int
    waited_ms: int = 0
    """How long it waited for the earlier stay at the same station to end; 0: the bay was free."""


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """The stays of one day, by arrival, none overlapping another at its station."""

    date: str
    utc_offset_s: int
    """Of the first arrival; the demo shows site time with it."""
    source: str
    stays: tuple[Stay, ...]

    @property
    def stations(self) -> tuple[str, ...]:
        """Every station once, sorted."""
        return tuple(sorted({stay.station_id for stay in self.stays}))

    @property
    def waited(self) -> int:
        """How many stays had to wait for the one before them."""
        return sum(stay.waited_ms > 0 for stay in self.stays)

    @property
    def energy_wh(self) -> int:
        return sum(stay.energy_wh for stay in self.stays)


def read_day(path: Path, day: date | None = None) -> Day:
    """One day of a sessions file. ``day`` is the local date of arrival; None: that of the file's first row.

    Every row is checked, those of other days too: a file with a bad row is not trusted half.

    Raises SessionsError naming file and line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(_rows(path, lines))
    except OSError as error:
        raise SessionsError(f"cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SessionsError(f"{path} is not UTF-8 text (byte {error.start}); save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise SessionsError(f"{path} is not CSV: {error}.") from error
    if not rows:
        raise SessionsError(f"{path} has no sessions, only a header; give a file with at least one row.")
    wanted = rows[0][0].date() if day is None else day
    chosen = [(arrival, stay) for arrival, stay in rows if arrival.date() == wanted]
    if not chosen:
        raise SessionsError(_no_such_day(path, wanted, sorted({arrival.date() for arrival, _ in rows})))
    if len(chosen) > MAX_SESSIONS:
        raise SessionsError(f"{path} has {len(chosen)} sessions on {wanted}; the demo plays {MAX_SESSIONS}.")
    offset = min(chosen, key=lambda row: row[0])[0].utcoffset() or timedelta()
    return Day(
        date=wanted.isoformat(),
        utc_offset_s=int(offset.total_seconds()),
        source=str(path),
        stays=queue_overlaps(stay for _, stay in chosen),
    )


def queue_overlaps(stays: Iterable[Stay]) -> tuple[Stay, ...]:
    """Stays by arrival, such that a station holds one car at a time.

    A stay that begins before the earlier one at its station has ended waits: it is moved as a whole,
    keeping its length, to ``HANDOVER_MS`` after the earlier departure. Stays without overlap are left as
    they are.
    """
    free_from: dict[str, int] = {}
    queued = []
    for stay in sorted(stays, key=lambda item: (item.arrival_ms, item.departure_ms, item.station_id)):
        free = free_from.get(stay.station_id)
        wait = 0 if free is None or stay.arrival_ms >= free else free + HANDOVER_MS - stay.arrival_ms
        moved = msgspec.structs.replace(
            stay, arrival_ms=stay.arrival_ms + wait, departure_ms=stay.departure_ms + wait, waited_ms=wait
        )
        free_from[stay.station_id] = moved.departure_ms
        queued.append(moved)
    return tuple(sorted(queued, key=lambda item: (item.arrival_ms, item.station_id)))


def synthetic_day(*, seed: int, charge_points: int = 24, sessions: int = 60, day: date = date(2026, 6, 3)) -> Day:
    """A working day at a site with office by day and neighbours by night; the same for the same arguments.

    A third of the cars comes to work around 8:15 and stays, every fifth drops in during the day, the rest
    comes home around 18:30. Each goes to a free bay; with none free it queues for the one that is free
    first.
    """
    dice = random.Random(seed)  # noqa: S311 - a simulation, not a secret
    midnight_ms = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
    wishes = sorted(_wish(dice) for _ in range(sessions))
    free_from = {f"CP-{number:02d}": 0 for number in range(1, charge_points + 1)}
    stays = []
    for arrival_h, hours, kwh in wishes:
        arrival_ms = midnight_ms + round(arrival_h * 60) * _MINUTE_MS
        free = [name for name, until_ms in free_from.items() if until_ms <= arrival_ms]
        station = dice.choice(free) if free else min(free_from, key=lambda name: (free_from[name], name))
        start_ms = max(arrival_ms, free_from[station])
        departure_ms = start_ms + round(hours * 60) * _MINUTE_MS
        free_from[station] = departure_ms + HANDOVER_MS
        stays.append(
            Stay(
                station_id=station,
                arrival_ms=start_ms,
                departure_ms=departure_ms,
                energy_wh=round(kwh * 100) * 10,
                waited_ms=start_ms - arrival_ms,
            )
        )
    return Day(
        date=day.isoformat(),
        utc_offset_s=0,
        source=f"synthetic day, seed {seed}",
        stays=tuple(sorted(stays, key=lambda item: (item.arrival_ms, item.station_id))),
    )


def _wish(dice: random.Random) -> tuple[float, float, float]:
    """(hour of arrival, hours of stay, kWh) of one car."""
    kind = dice.random()
    if kind < 0.35:
        arrival, hours = dice.gauss(8.25, 0.8), dice.gauss(7.0, 1.2)
    elif kind < 0.55:
        arrival, hours = dice.uniform(10, 16), dice.uniform(0.75, 2.0)
    else:
        arrival, hours = dice.gauss(18.5, 1.1), dice.gauss(3.0, 0.6)
    arrival = min(max(arrival, 5.5), 20.0)
    hours = min(max(hours, 0.75), 10.0)
    # No more than three quarters of what a 7.4 kW outlet gives in that time: a fair share suffices.
    kwh = min(max(dice.lognormvariate(math.log(13), 0.5), 2.0), 45.0, hours * 7.4 * 0.75)
    return arrival, hours, kwh


def _rows(path: Path, lines: Iterable[str]) -> Iterator[tuple[datetime, Stay]]:
    reader = csv.reader(lines)
    header = next(reader, None)
    if header is None:
        raise SessionsError(f"{path} is empty; it needs a header with {', '.join(COLUMNS)}.")
    names = [name.strip() for name in header]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise SessionsError(f"{path}:1: the column {missing[0]} is missing; the header needs {', '.join(COLUMNS)}.")
    places = [names.index(name) for name in COLUMNS]
    for row in reader:
        if not row:
            continue
        where = f"{path}:{reader.line_num}"
        if len(row) <= max(places):
            raise SessionsError(f"{where}: {len(row)} columns where the header has {len(names)}.")
        yield _row(where, *(row[place].strip() for place in places))


def _row(where: str, arrival: str, departure: str, kwh: str, station: str) -> tuple[datetime, Stay]:
    came, left = _instant(where, "arrival", arrival), _instant(where, "departure", departure)
    if left <= came:
        raise SessionsError(f"{where}: departure {departure} is not after arrival {arrival}.")
    try:
        energy = Decimal(kwh)
    except InvalidOperation:
        raise SessionsError(f"{where}: delivered_kwh {kwh!r} is not a number.") from None
    if not energy.is_finite() or not 0 < energy <= MAX_KWH:
        raise SessionsError(f"{where}: delivered_kwh {kwh} is not between 0 and {MAX_KWH}.")
    energy_wh = round(energy * 1000)
    if energy_wh < 1:
        raise SessionsError(f"{where}: delivered_kwh {kwh} is less than one watt-hour.")
    if not station or len(station) > MAX_STATION:
        raise SessionsError(f"{where}: station_id must have 1 to {MAX_STATION} characters.")
    stay = Stay(station_id=station, arrival_ms=_ms(came), departure_ms=_ms(left), energy_wh=energy_wh)
    return came, stay


def _instant(where: str, name: str, text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise SessionsError(f"{where}: {name} {text!r} is not an ISO 8601 instant.") from None
    if instant.utcoffset() is None:
        raise SessionsError(f"{where}: {name} {text} has no offset; write it like {text}+00:00 or {text}-07:00.")
    return instant


def _ms(instant: datetime) -> int:
    return round((instant - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


def _no_such_day(path: Path, wanted: date, days: Sequence[date]) -> str:
    before = [day for day in days if day < wanted]
    after = [day for day in days if day > wanted]
    near = [day.isoformat() for day in [*before[-1:], *after[:1]]]
    return (
        f"{path} has no session that arrives on {wanted}; it has {days[0]} to {days[-1]}, "
        f"nearest is {' and '.join(near)}."
    )
