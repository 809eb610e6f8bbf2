# evcharge in one image: every command is on PATH; without an argument it plays the demo's day and ends.
# docker build -t evcharge . && docker run --rm evcharge

FROM python:3.11-slim AS build
WORKDIR /src
# The dependencies first: these layers change only with the locks. Every list is pinned with hashes.
COPY requirements.lock requirements-build.lock requirements-node.lock ./
RUN python -m venv /opt/evcharge \
    && /opt/evcharge/bin/python -m pip install --no-cache-dir --require-hashes -r requirements.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/python -m pip install --no-cache-dir --require-hashes -r requirements-build.lock -r requirements-node.lock
# What the page needs from npm. Node is a tool of the build: the image has none.
ENV PATH=/opt/build/bin:$PATH
COPY evcharge/sidecar/page/package.json evcharge/sidecar/page/package-lock.json evcharge/sidecar/page/.npmrc evcharge/sidecar/page/
RUN npm ci --prefix evcharge/sidecar/page --ignore-scripts --omit=dev --no-audit --no-fund
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY protocol protocol
COPY evcharge evcharge
RUN node evcharge/sidecar/page/vendor.mjs \
    && /opt/build/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/evcharge/bin/python -m pip install --no-cache-dir --no-deps --no-index /dist/*.whl

FROM python:3.11-slim
RUN useradd --system --uid 10001 --user-group --create-home --home-dir /var/lib/evcharge evcharge
COPY --from=build /opt/evcharge /opt/evcharge
ENV PATH=/opt/evcharge/bin:$PATH PYTHONUNBUFFERED=1
USER evcharge
WORKDIR /var/lib/evcharge
CMD ["evcharge-demo", "--exit"]
