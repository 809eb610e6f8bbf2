"""The site file: TOML that says what hangs on what, what it may carry, and what power costs.

[site]                                 # the connection to the grid; left out where it does not bind
capacity_kw = 250
base_kw = 30                           # the most that everything else draws there

[substations.north]
capacity_kw = 100
backup = ["south"]                     # what feeds its charge points while it is lost, the first that is well
charge_points = ["CP-1", "CP-2"]       # those that are not named anywhere stand at the first of the lowest nodes

[substations.north.feeders.row-a]
capacity_kw = 40
phase_a = [63, 63, 63]                 # fuses, at ``volts`` (230) between phase and neutral
charge_points = ["CP-3"]

[charge_points.CP-3]
phases = [2]                           # the conductor that carries its current; unknown: each has to hold it
latitude = 48.137                      # where it is and what plug it has, for recommendations only
longitude = 11.575
plug = "type2"

[weather]
stop_now = true                        # an alert ends running sessions at once; otherwise they go on to their end

[derating]                             # in the heat the limits above fall on a line, from all to ``least`` of them
from_c = 40
to_c = 60
least = 0.5
assumed_c = 60                         # how hot it is while nobody says it

[tariff]
price_per_kwh = 0.30

[energy]                               # what power costs the site: the planner saves it
time_zone = "Europe/Berlin"
price_per_kwh = 0.14
demand_charge_per_kw = 12.0
periods = [{ days = ["mon", "tue", "wed", "thu", "fri"], from = "16:00", until = "21:00", price_per_kwh = 0.31 }]
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from evcharge.central.site_entries import EnergyEntry, Entries, NodeEntry, SiteEntry, check_names
from evcharge.central.site_mistakes import Bad, BadSite, Source, TomlPath, first_mistake
from evcharge.domain.headroom import BadTree, check_tree
from evcharge.domain.site import NodeConfig, SiteConfig, Tariff
from evcharge.domain.stations import ANY_PLUG, Place
from evcharge.energy.derating import Derating, share_of
from evcharge.ids import ChargePointId, NodeId
from evcharge.text import did_you_mean
from evcharge.units import Watts

# Charge points that stand nowhere and are said one by one, with their lines: more were not meant one by one.
_DOUBTS: Final = 10
# The node of ``[site]``.
SITE: Final = "site"


class SiteFile:
    """A file whose fields have the right types; the methods check what they say."""

    def __init__(self, source: Source, entries: Entries) -> None:
        self._source, self._entries = source, entries

    @property
    def energy(self) -> EnergyEntry:
        """What power costs the site."""
        return self._entries.energy

    @property
    def derating(self) -> Derating | None:
        """What the heat leaves of the limits; None: all. Raises BadSite."""
        entry = self._entries.derating
        return None if entry is None else entry.line(self._source.at("derating"))

    def site_config(self, tariff: Tariff) -> SiteConfig:
        """As the domain has it; ``tariff`` is what holds where the file has none. Raises BadSite."""
        source, entries = self._source, self._entries
        capacities: dict[NodeId, Watts] = {}
        nodes: dict[NodeId, NodeConfig] = {}
        tables: dict[NodeId, TomlPath] = {}
        assignments: dict[ChargePointId, NodeId] = {}
        for node_id, parent, path, entry in self._nodes():
            bad = source.at(*path)
            if node_id in capacities:
                raise bad("", f"has the name of another node: two nodes are called {node_id}")
            tables[node_id] = path
            capacities[node_id], nodes[node_id] = entry.limits(parent, bad)
            for cp_id in entry.charge_points if isinstance(entry, NodeEntry) else ():
                check_names([cp_id], "charge_points", bad)
                if ChargePointId(cp_id) in assignments:
                    raise bad("charge_points", f"names {cp_id}, and so does another node: it stands at one only")
                assignments[ChargePointId(cp_id)] = node_id
        phases = {}
        for cp_id, said in entries.charge_points.items():
            bad = source.at("charge_points", cp_id)
            check_names([cp_id], "", bad)
            phases[ChargePointId(cp_id)] = said.on_phases(bad)
        site = SiteConfig(
            capacities=capacities,
            assignments=assignments,
            nodes={node_id: placed for node_id, placed in nodes.items() if placed != NodeConfig()},
            phases={cp_id: on for cp_id, on in phases.items() if on},
            rules=self.energy.rules,
            weather_stops=entries.weather.stop_now,
            assumed_share=None if (line := self.derating) is None else share_of(None, line),
            tariff=tariff if entries.tariff is None else entries.tariff.tariff(source.at("tariff")),
        )
        self._check_energy()
        try:
            check_tree(site)
        except BadTree as error:
            # The sentence begins with the node that it is about.
            about = max((each for each in tables if str(error).startswith(f"{each} ")), key=len, default=None)
            raise source.bad(() if about is None else tables[about], f"cannot be: {error}") from error
        return site

    def places(self) -> dict[ChargePointId, Place]:
        """Where charge points are, and their plugs, as far as the file says. Raises BadSite."""
        found = {}
        for cp_id, entry in self._entries.charge_points.items():
            bad = self._source.at("charge_points", cp_id)
            at = entry.position(bad)
            if entry.plug != ANY_PLUG:
                check_names([entry.plug], "plug", bad)
            if at is not None or entry.plug != ANY_PLUG:
                found[ChargePointId(cp_id)] = Place(at, entry.plug)
        return found

    def doubts(self) -> Iterator[str]:
        """What Central can start with and the operator may not have meant: sentences.

        A ``[charge_points.X]`` that no node names is no error: charge points that are named nowhere stand at the first
        of the lowest nodes. Where others are named, X may be a slip, and then the phases of a charge point are lost.
        """
        named = {cp_id for *_, entry in self._nodes() if isinstance(entry, NodeEntry) for cp_id in entry.charge_points}
        nowhere = [cp_id for cp_id in self._entries.charge_points if named and cp_id not in named]
        for cp_id in nowhere[:_DOUBTS]:
            what = "is named by no charge_points, so it stands at the first of the lowest nodes"
            yield self._source.sentence(("charge_points", cp_id), what + did_you_mean(cp_id, named))
        if len(nowhere) > _DOUBTS:
            more = len(nowhere) - _DOUBTS
            yield self._source.sentence(("charge_points",), f"has {more} more that are named by no charge_points")

    def _check_energy(self) -> None:
        source, energy = self._source, self.energy
        energy.check(source.at("energy"))
        for number, period in enumerate(energy.periods):
            period.check(source.at("energy", "periods", number))
        if energy.battery is not None:
            energy.battery.check(source.at("energy", "battery"))

    def _nodes(self) -> Iterator[tuple[NodeId, NodeId | None, TomlPath, NodeEntry | SiteEntry]]:
        """Each node with its parent, where it stands and what is said of it, from the top. Raises BadSite."""
        top = None
        if self._entries.site is not None:
            top = NodeId(SITE)
            yield top, None, (SITE,), self._entries.site
        for substation_id, entry in self._entries.substations.items():
            path: TomlPath = ("substations", substation_id)
            _check_node(substation_id, self._source.at(*path))
            yield NodeId(substation_id), top, path, entry
            for feeder_id, feeder in entry.feeders.items():
                below = (*path, "feeders", feeder_id)
                bad = self._source.at(*below)
                _check_node(feeder_id, bad)
                if feeder.feeders:
                    raise bad("", "has feeders of its own: a feeder feeds connectors only")
                yield NodeId(feeder_id), NodeId(substation_id), below, feeder


def read_site_file(path: Path) -> SiteFile:
    """The file as it is written. Raises BadSite."""
    try:
        text = path.read_text(encoding="utf-8")
        source = Source(str(path), text, tomllib.loads(text))
    except OSError as error:
        raise BadSite(f"cannot read the site file {path}: {error.strerror}.") from error
    # Of a number with thousands of digits Python says no more than that.
    except ValueError as error:
        raise BadSite(f"the site file {path} is not TOML: {error}.") from error
    except RecursionError as error:
        raise _too_deep(path) from error
    try:
        entries = _entries(source)
    except RecursionError as error:
        raise _too_deep(path) from error
    if not entries.substations:
        raise BadSite(f"the site file {path} names no substation; add a table [substations.NAME] with capacity_kw.")
    return SiteFile(source, entries)


def _too_deep(path: Path) -> BadSite:
    return BadSite(f"the site file {path} is nested too deep to be one.")


def _entries(source: Source) -> Entries:
    try:
        return msgspec.convert(source.table, Entries)
    except msgspec.ValidationError as error:
        mistake = first_mistake(source.table, Entries)
        if mistake is None:
            raise BadSite(f"the site file {source.name}: {error}.") from error
        raise BadSite(source.sentence(mistake.path, mistake.what, mistake.place)) from error


def _check_node(name: str, bad: Bad) -> None:
    check_names([name], "", bad)
    if "/" in name:
        raise bad("", "may not hold a slash, which sets a node apart from its phase")
