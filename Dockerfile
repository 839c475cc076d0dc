# syntax=docker/dockerfile:1.7
# One service per image: docker build --build-arg SERVICE=edge -t llmproxy-edge .
# SERVICE is edge, shield, router, provider-workers, audit or admin. EXTRA=presidio gives the shield Presidio (250 MB).

FROM ghcr.io/astral-sh/uv:0.13.9 AS uv

FROM python:3.13-slim-bookworm AS build
ARG SERVICE
ARG EXTRA
COPY --from=uv /uv /usr/local/bin/uv
# llmproxy-common compiles its native library (docs/adr/0017). The final stage has no compiler.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/app
WORKDIR /source
COPY pyproject.toml uv.lock ./
COPY libs ./libs
COPY services ./services
# --locked: the lock file's versions and hashes, or no image. Only what this service declares goes in.
RUN --mount=type=cache,target=/root/.cache/uv \
    test -n "$SERVICE" || { echo "give --build-arg SERVICE=edge (or another service)"; exit 1; }; \
    uv sync --locked --no-dev --no-editable --package "llmproxy-$SERVICE" ${EXTRA:+--extra "$EXTRA"} \
 && printf '#!/bin/sh\nexec python -m llmproxy.%s\n' "$(echo "$SERVICE" | tr - _)" > /app/bin/serve \
 && chmod 0755 /app/bin/serve

FROM python:3.13-slim-bookworm
ARG SERVICE
LABEL org.opencontainers.image.title="llmproxy-$SERVICE" org.opencontainers.image.licenses="MIT"
RUN groupadd --system --gid 10001 llmproxy \
 && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin llmproxy \
 && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    LLM_PROXY_PROBES_HOST=0.0.0.0 LLM_PROXY_PROBES_PORT=9090
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8090 8091 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=2s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['LLM_PROXY_PROBES_PORT'] + '/livez', timeout=2)"]
CMD ["serve"]
