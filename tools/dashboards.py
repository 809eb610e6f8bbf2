"""``python -m tools.dashboards``: the Grafana dashboards of ``deploy/grafana``, written from the tables below.

Grafana's JSON says in eighty lines what matters in three: what is asked, in which unit, beside what. So the tables are
the source, the JSON is made from them, and a test compares the two.
"""

from __future__ import annotations

from pathlib import Path

import click

from tools.grafana import Dashboard, Panel, Query, line, quantiles, rate, rendered, tile

FOLDER = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards"

SITE = Dashboard(
    uid="evcharge-site",
    title="evcharge: the site",
    rows=[
        (
            "Now",
            [
                tile("Supplying", "sum(active_chargers)"),
                tile("Disconnected", 'sum(cp_state{state="DISCONNECTED"})'),
                tile("Out of order", 'sum(cp_state{state="OUT_OF_ORDER"})'),
                tile("Waiting", "sum(evcharge_waiting)"),
                tile("Energy of a day", "sum(increase(energy_kwh_total[24h]))", "kwatth"),
                tile("Revenue of a day", "sum by (currency) (increase(revenue_total[24h]))"),
            ],
        ),
        (
            "Power",
            [
                Panel(
                    title="Power of $substation, against its limits",
                    queries=[
                        Query('current_load{substation_id="$substation"}', "charging"),
                        Query('evcharge_base_load_kw{substation_id="$substation"}', "everything else"),
                        Query('evcharge_offered_kw{substation_id="$substation"}', "offered"),
                        Query('evcharge_fallback_kw{substation_id="$substation"}', "without Central"),
                        Query('evcharge_worst_case_kw{substation_id="$substation"}', "at worst"),
                        Query('evcharge_limit_kw{substation_id="$substation"}', "limit"),
                    ],
                    unit="kwatt",
                    width=16,
                    height=9,
                    text="At worst and everything else together never pass the limit. Without Central: what would flow "
                    "if it vanished now.",
                ),
                line(
                    "How full each substation is",
                    "(current_load + evcharge_base_load_kw) / (evcharge_limit_kw > 0)",
                    "{{substation_id}}",
                    unit="percentunit",
                    height=9,
                    most=1.0,
                ),
                line("Capacity", "total_capacity", "{{substation_id}}", unit="kwatt"),
                line("Sessions by substation", "evcharge_substation_sessions", "{{substation_id}}"),
                line("Substations that can be drawn from", "evcharge_substation_up", "{{substation_id}}", most=1.0),
            ],
        ),
        (
            "Charging",
            [
                line("Charge points by state", "sum by (state) (cp_state)", "{{state}}", stacked=True),
                Panel(
                    title="Sessions",
                    queries=[
                        Query("sum(sessions_active)", "contactor closed"),
                        Query("sum(evcharge_sessions_open)", "open"),
                        Query("sum(evcharge_waiting)", "in line"),
                        Query("sum(evcharge_reservations)", "reserved"),
                    ],
                ),
                line(
                    "Requests in 5 minutes",
                    "sum by (outcome) (increase(charging_requests_total[5m]))",
                    "{{outcome}}",
                    stacked=True,
                ),
                line("Why requests were refused", "sum by (reason) (evcharge_refusals_total)", "{{reason}}"),
                line(
                    "Where those without a wish were sent",
                    "sum by (outcome, substation_id) (increase(routing_decisions_total[1h]))",
                    "{{outcome}} {{substation_id}}",
                    stacked=True,
                ),
                line("Energy on tickets", "sum(increase(energy_kwh_total[1h]))", "kWh in an hour", unit="kwatth"),
            ],
        ),
        (
            "Trouble",
            [
                line("Lost charge points", "evcharge_charge_points_lost", "{{part}}"),
                line("Incidents", "sum by (code) (increase(evcharge_incidents_total[1h]))", "{{code}}"),
                line("Failovers", "sum by (substation_id) (increase(failover_total[1h]))", "{{substation_id}}"),
                line("Weather alerts", "sum(evcharge_weather_alerts)", "on"),
                line(
                    "Substations lost",
                    "sum by (substation_id) (increase(evcharge_substation_losses_total[1h]))",
                    "{{substation_id}}",
                ),
                line("Requests turned down", 'sum(charging_requests_total{outcome="turned_down"})', "in all"),
            ],
        ),
    ],
)

CENTRAL = Dashboard(
    uid="evcharge-central",
    title="evcharge: inside Central",
    rows=[
        (
            "The loop",
            [
                quantiles("How late the loop is", "evcharge_loop_lag_seconds", "job"),
                line(
                    "Processor",
                    "rate(process_cpu_seconds_total[$__rate_interval])",
                    "{{job}}",
                    unit="percentunit",
                    text="1 is one whole core: the loop has no more.",
                ),
                line("Memory", "process_resident_memory_bytes", "{{job}}", unit="bytes"),
                line("Waiting for the disk", "evcharge_inbox_depth", "answers"),
                line("Peers held back", "evcharge_peers_paused", "peers"),
                line("Open files", "process_open_fds", "{{job}}"),
            ],
        ),
        (
            "The log",
            [
                quantiles("From an event until it is durable", "evcharge_commit_seconds"),
                quantiles("Sync of the disk", "evcharge_fsync_seconds"),
                line(
                    "Records of a commit",
                    "sum(rate(evcharge_commit_records_sum[$__rate_interval])) "
                    "/ (sum(rate(evcharge_commit_records_count[$__rate_interval])) > 0)",
                    "mean",
                ),
                line(
                    "Records a second",
                    'rate(evcharge_log_sequence{what="durable"}[$__rate_interval])',
                    "records",
                    unit="ops",
                ),
                line("Written", "rate(evcharge_log_written_bytes_total[$__rate_interval])", "bytes", unit="Bps"),
                Panel(
                    title="Room",
                    queries=[Query("evcharge_disk_free_bytes", "free"), Query("evcharge_log_bytes", "the log")],
                    unit="bytes",
                ),
                line("Not signed yet", "evcharge_log_unsigned_records", "records"),
                line("Age of the newest checkpoint", "evcharge_checkpoint_age_seconds", "age", unit="s"),
                line("How far followers are behind", "evcharge_follower_lag_records", "{{follower}}"),
                tile("Records replayed at the start", "evcharge_replay_records"),
                tile("Replay took", "evcharge_replay_seconds", "s"),
                tile("Record", 'evcharge_log_sequence{what="durable"}'),
                tile("Disk low", "evcharge_disk_low"),
                tile("Log suspect", "evcharge_log_suspect"),
                tile("Snapshots", "evcharge_snapshots_total"),
            ],
        ),
        (
            "The wire",
            [
                line("Peers", "evcharge_peers_connected", "{{role}}", stacked=True),
                line("Connections", "evcharge_connections", "{{what}}"),
                rate("Handshakes", "evcharge_handshakes_total", "outcome", stacked=True),
                rate("Messages", "evcharge_frames_total", "direction"),
                rate("Bytes", "evcharge_wire_bytes_total", "direction", "Bps"),
                rate("Decisions about peers", 'auth_decisions_total{job="evcharge-central"}', "status", stacked=True),
                rate("Broken connections", "frame_errors_total", "error"),
                rate("Peers and clients that send too much", "throttled_total", "job"),
                line("Registry within reach", "evcharge_registry_reachable", "registry", most=1.0),
            ],
        ),
        (
            "The planner",
            [
                quantiles("How long a plan takes", "evcharge_planner_seconds"),
                rate("Plans", "evcharge_plans_total", "outcome"),
                Panel(
                    title="Age of the plan",
                    queries=[
                        Query("evcharge_plan_age_seconds", "{{substation_id}}, site time"),
                        Query("evcharge_plan_overdue_seconds", "overdue"),
                    ],
                    unit="s",
                ),
            ],
        ),
    ],
)

SIDECAR = Dashboard(
    uid="evcharge-sidecar",
    title="evcharge: the sidecar",
    rows=[
        (
            "Now",
            [
                tile("Central", "evcharge_central_connected"),
                tile("Database", "evcharge_database_up"),
                tile("Pages and streams", "evcharge_live_clients"),
                tile("Registry's revision", "evcharge_registry_revision"),
                tile("History at record", "evcharge_history_sequence"),
                tile("Behind the log", "evcharge_history_lag_records"),
            ],
        ),
        (
            "HTTP",
            [
                rate("Requests by status", "evcharge_http_requests_total", "status", "reqps", stacked=True),
                rate("Requests by route", "evcharge_http_requests_total", "route", "reqps", stacked=True),
                line(
                    "99 % of the answers came within",
                    "histogram_quantile(0.99, sum by (le, route) "
                    "(rate(evcharge_http_request_seconds_bucket[$__rate_interval])))",
                    "{{route}}",
                    unit="s",
                    text="Long polls of the registry's change feed take as long as they may.",
                ),
                rate("Tokens", 'auth_decisions_total{job="evcharge-sidecar"}', "status", stacked=True),
                line(
                    "One request too many",
                    'rate(throttled_total{job="evcharge-sidecar"}[$__rate_interval])',
                    "requests",
                    unit="reqps",
                ),
                quantiles("Database", "evcharge_database_seconds", "kind"),
            ],
        ),
        (
            "Authorizations",
            [
                rate("Decisions", "evcharge_authorizations_total", "decision"),
                rate("Callbacks", "evcharge_callbacks_total", "outcome"),
                Panel(
                    title="What waits",
                    queries=[
                        Query("evcharge_authorization_queue_depth", "decisions"),
                        Query("evcharge_callbacks_waiting", "callbacks: {{state}}"),
                    ],
                ),
            ],
        ),
        (
            "Outside",
            [
                line(
                    "Weather in an hour",
                    "sum by (outcome) (increase(evcharge_weather_fetches_total[1h]))",
                    "{{outcome}}",
                ),
                rate("Readings", "evcharge_sensor_readings_total", "source, outcome"),
                line("Sensors", "evcharge_sensors", "{{state}}", stacked=True),
            ],
        ),
    ],
)

DASHBOARDS = {"site.json": SITE, "central.json": CENTRAL, "sidecar.json": SIDECAR}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Write the Grafana dashboards of deploy/grafana anew from the tables in this file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, dashboard in DASHBOARDS.items():
        (FOLDER / name).write_bytes(rendered(dashboard))
        click.echo(FOLDER / name)


if __name__ == "__main__":
    main()
