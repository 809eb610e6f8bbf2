"""How often each kind of route may be asked, unless the settings say otherwise."""

from __future__ import annotations

from evcharge.sidecar.web.route import Limit

# The gateway's own: ten a minute, what API gateways of such sites allow a client by default.
GATEWAY = Limit("gateway", 10)
# What a program that shows or controls the site asks: a page that looks once a second stays below.
SITE = Limit("site", 120)
# A token lives 15 minutes: who asks for more than one every two seconds keeps none.
TOKEN = Limit("token", 30)
# The registry's: a whole site is set up in minutes.
REGISTRY = Limit("registry", 600)
# Charge authorizations: stations behind one client ask for every arriving car.
AUTHORITY = Limit("authority", 600)
# Open documents and health, for each source: probes ask once a second.
OPEN = Limit("open", 300)
# Streams that are opened: a page comes back each second while the sidecar restarts, and a team shares a log-in.
LIVE = Limit("live", 600)
# Checks of a person's password, for each source: each costs two X25519 products.
VERIFY = Limit("verify", 30)
# People who log in, for each source: a shift that comes to work behind one address.
LOGIN = Limit("login", 30)
# The history: a page of statistics asks six times at once, and again with each click.
HISTORY = Limit("history", 300)
# Whole tables as files: each may read a million rows.
EXPORT = Limit("export", 12)
