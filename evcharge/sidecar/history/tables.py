"""The history's tables: derived from Central's log and nothing else, so another layout is a rebuild, no migration.

Every query of ``queries.py`` has its index here. All instants are site time in UTC milliseconds, energy is Wh, power W.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table

# The number of this layout and of what the fold makes of records: raise it when either changes.
SCHEMA = 1
# What every table's name begins with: with PostgreSQL they stand beside the registry's.
PREFIX = "history_"

metadata = MetaData()


def _table(name: str, *columns: Column[Any] | Index) -> Table:
    return Table(PREFIX + name, metadata, *columns)


def _big(name: str, *, key: bool = False, null: bool = False) -> Column[Any]:
    return Column(name, BigInteger, primary_key=key, nullable=null and not key, autoincrement=False)


def _text(name: str, *, key: bool = False, null: bool = False) -> Column[Any]:
    return Column(name, String, primary_key=key, nullable=null and not key)


position_table = _table(
    "position",
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("schema", Integer, nullable=False),
    _text("time_zone"),
    _big("seq"),
    # The first record that was taken, and a hash of the last: whether a log is still the one that this was made of.
    _big("first_seq"),
    Column("last_hash", LargeBinary, nullable=False),
    # Records that were archived before they were taken, behind the first.
    _big("missing"),
    Column("chain", LargeBinary, nullable=False),
    Column("site", LargeBinary, nullable=False),
)

open_table = _table("open", _text("session_id", key=True), Column("state", LargeBinary, nullable=False))

sessions_table = _table(
    "sessions",
    _text("session_id", key=True),
    _big("seq"),
    _big("last_seq"),
    _text("cp_id"),
    Column("connector", Integer, nullable=False),
    _text("driver_id"),
    _text("substation_id"),
    _text("status"),
    _big("authorized_ms"),
    _big("min_w"),
    _big("max_w"),
    _big("requested_wh", null=True),
    _big("start_ms", null=True),
    _big("end_ms", null=True),
    _text("stop", null=True),
    _big("energy_wh"),
    _big("amount_minor", null=True),
    _text("currency", null=True),
    _big("co2_g", null=True),
    _text("ticket_id", null=True),
    Column("provisional", Boolean, nullable=False),
    Index("history_sessions_by_time", "authorized_ms", "seq"),
    Index("history_sessions_by_point", "cp_id", "authorized_ms", "seq"),
    Index("history_sessions_by_driver", "driver_id", "authorized_ms", "seq"),
    Index("history_sessions_by_status", "status", "authorized_ms", "seq"),
)

tickets_table = _table(
    "tickets",
    _text("ticket_id", key=True),
    _big("seq"),
    _big("at_ms"),
    _text("session_id"),
    _text("cp_id"),
    _text("driver_id"),
    _text("substation_id"),
    _big("start_ms"),
    _big("end_ms"),
    _big("energy_wh"),
    _big("price_e4"),
    _big("amount_minor"),
    _text("currency"),
    _text("status"),
    _text("reason"),
    _big("average_w"),
    _big("co2_g"),
    _big("final_meter_wh"),
    Column("provisional", Boolean, nullable=False),
    _big("adjusted_wh"),
    _big("adjusted_minor"),
    _big("adjusted_co2_g"),
    Index("history_tickets_by_session", "session_id"),
)

adjustments_table = _table(
    "adjustments",
    _big("seq", key=True),
    _big("at_ms"),
    _text("ticket_id"),
    _text("session_id"),
    _text("driver_id"),
    _big("energy_wh"),
    _big("amount_minor"),
    _big("co2_g"),
    _big("final_meter_wh"),
    Index("history_adjustments_by_ticket", "ticket_id", "seq"),
)


def _rows(name: str) -> Table:
    """One row of a record: what it names, and its fields as they were."""
    return _table(
        name,
        _big("seq", key=True),
        _big("at_ms"),
        _text("kind"),
        _text("cp_id", null=True),
        _big("connector", null=True),
        _text("session_id", null=True),
        _text("driver_id", null=True),
        _text("node_id", null=True),
        _big("limit_w", null=True),
        _text("reason", null=True),
        Column("data", LargeBinary, nullable=False),
        Index(f"history_{name}_by_session", "session_id", "seq"),
        Index(f"history_{name}_by_point", "cp_id", "seq"),
        Index(f"history_{name}_by_node", "node_id", "seq"),
    )


decisions_table = _rows("decisions")
states_table = _rows("states")
Index("history_states_by_point_time", states_table.c.cp_id, states_table.c.at_ms, states_table.c.seq)

points_table = _table(
    "points",
    _text("cp_id", key=True),
    _big("quarter_ms", key=True),
    _big("energy_wh"),
    _big("peak_w"),
)
nodes_table = _table(
    "nodes",
    _text("node_id", key=True),
    _big("quarter_ms", key=True),
    _big("energy_wh"),
    _big("peak_w"),
)
for _by_key in (points_table, nodes_table):
    # The key is the table: one look-up in place of two.
    _by_key.dialect_options["sqlite"]["with_rowid"] = False

days_table = _table(
    "days",
    _text("day", key=True),
    _big("sessions"),
    _big("energy_wh"),
    _big("amount_minor"),
    _text("currency", null=True),
    _big("co2_g"),
    _big("avoided_g"),
    _big("busy_ms"),
    _big("refused"),
    _big("connectors"),
)
