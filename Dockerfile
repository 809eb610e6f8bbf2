# evcharge in one image: every command is on PATH; without an argument it plays the demo's day and ends.
#   docker build -t evcharge . && docker run --rm evcharge
# A role is a command line (`docker run evcharge evcharge-central …`), without an entrypoint and without a shell: the
# program is PID 1, hears SIGTERM itself, drains and exits with 0 within Docker's ten seconds (the
# publisher of events within twenty: --stop-timeout 20).
# It needs nothing but its data: --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges

# --- what evcharge needs, at the versions of its lock ---------------------------------------------------------------
FROM python:3.11-slim AS dependencies
WORKDIR /src
# `strip`. It stays in this stage, so that no version of it has to be pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
COPY requirements-image.lock ./
# Nothing is installed at run time, so pip stays out of the venv: the base's own fills it.
#
# What no program reads does not travel: tests of the packages, sources and headers of what is compiled. The debug
# sections of compiled modules are two fifths of all (40 MB); those that wheels carry in `*.libs` were rewritten by
# auditwheel, which strip does not always survive, and stay. highspy's wheel, as all wheels, cannot hold a symbolic
# link and has its library twice.
#
# Bytecode is compiled here, because a root file system that is read-only can keep none, and every start would compile
# anew. It is never compared with its source (unchecked-hash): the sources cannot change, and times do not matter.
RUN python -m venv --without-pip /opt/evcharge \
    && python -m pip --python /opt/evcharge/bin/python install --no-cache-dir --no-compile --require-hashes \
        --requirement requirements-image.lock \
    && find /opt/evcharge -depth -type d -name tests -exec rm -rf {} + \
    && find /opt/evcharge -type f -regex '.*\.\(pyx\|pxd\|pxi\|pyi\|c\|h\|hpp\)' -delete \
    && find /opt/evcharge -type f -name '*.so*' -not -path '*.libs/*' -exec strip --strip-unneeded {} + \
    && for twin in /opt/evcharge/lib/python*/site-packages/highspy/libhighs.so.1; do \
        cmp "$twin" "$twin".* && ln -sf "$(basename "$twin".*)" "$twin" || exit 1; \
    done \
    && /opt/evcharge/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/evcharge/lib

# --- evcharge itself, through its wheel -----------------------------------------------------------------------------
FROM dependencies AS build
# Tools first: they change less often than the sources.
COPY requirements-build.lock requirements-node.lock ./
RUN python -m venv /opt/build \
    && /opt/build/bin/python -m pip install --no-cache-dir --no-compile --require-hashes \
        --requirement requirements-build.lock --requirement requirements-node.lock
# What the page needs from npm. Node is a tool of the build: the image has none.
ENV PATH=/opt/build/bin:$PATH
COPY evcharge/sidecar/page/package.json evcharge/sidecar/page/package-lock.json evcharge/sidecar/page/.npmrc evcharge/sidecar/page/
RUN npm ci --prefix evcharge/sidecar/page --ignore-scripts --omit=dev --no-audit --no-fund
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY protocol protocol
COPY evcharge evcharge
# Into a root of its own, so that it becomes a layer of its own, of a few MB, over that of what it needs, which a
# registry and a machine then already have.
RUN node evcharge/sidecar/page/vendor.mjs \
    && /opt/build/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/build/bin/python -m pip --python /opt/evcharge/bin/python install --no-cache-dir --no-compile --no-deps \
        --no-index --root /own /dist/*.whl \
    && /opt/evcharge/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /own

# --- the image ------------------------------------------------------------------------------------------------------
FROM python:3.11-slim
# A number, so that an orchestrator can tell that it is not root; the same one for files on volumes of all machines.
# A named volume that is new takes over the owner of the folder it is mounted on: these are what the program may write.
RUN groupadd --gid 10001 evcharge \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /var/lib/evcharge --shell /usr/sbin/nologin evcharge \
    && install --directory --owner 10001 --group 10001 --mode 0750 /var/lib/evcharge /run/evcharge
COPY --from=dependencies /opt/evcharge /opt/evcharge
COPY --from=build /own /
# Every log line at once.
ENV PATH=/opt/evcharge/bin:$PATH PYTHONUNBUFFERED=1
# Python's own bytecode: the official base brings none. Only of what the commands import is made, by importing them all,
# which also shows that nothing is missing of what was left out above.
RUN ["python", "-c", "import importlib, pkgutil, evcharge.cli as cli; [importlib.import_module(found.name) for found in pkgutil.iter_modules(cli.__path__, 'evcharge.cli.')]; import asyncpg, aiokafka, highspy"]
# From here on the root may be read-only: nobody tries to write any.
ENV PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/evcharge
STOPSIGNAL SIGTERM
# Whether the role that runs here lives, whichever it is: see evcharge-health --help. Central replays its log before it
# answers, a large one for some seconds.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["evcharge-health"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="evcharge" \
      org.opencontainers.image.description="Runs a charging site: Central, sidecar, charge points, drivers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim"
CMD ["evcharge-demo", "--exit"]
