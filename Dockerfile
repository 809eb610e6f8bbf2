# evcharge in one image: every command is on PATH; without an argument it plays the demo's day and ends.
# docker build -t evcharge . && docker run --rm evcharge

FROM python:3.11-slim AS build
WORKDIR /src
# The dependencies first: this layer changes only with the lock. Both lists are pinned with hashes.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/evcharge \
    && /opt/evcharge/bin/python -m pip install --no-cache-dir --require-hashes -r requirements.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/python -m pip install --no-cache-dir --require-hashes -r requirements-build.lock
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY protocol protocol
COPY evcharge evcharge
RUN /opt/build/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/evcharge/bin/python -m pip install --no-cache-dir --no-deps --no-index /dist/*.whl

FROM python:3.11-slim
RUN useradd --system --uid 10001 --user-group --create-home --home-dir /var/lib/evcharge evcharge
COPY --from=build /opt/evcharge /opt/evcharge
ENV PATH=/opt/evcharge/bin:$PATH PYTHONUNBUFFERED=1
USER evcharge
WORKDIR /var/lib/evcharge
CMD ["evcharge-demo", "--exit"]
