# One file, four images; the last is the default.
#   docker build -t linnet .                                the service on the CPU, with the bundled models
#   docker build -t linnet:cuda --target service-cuda .     the service on an NVIDIA GPU
#   docker build -t linnet:trainer --target trainer .       training and export; PyTorch with CUDA
#   docker build -t linnet:demo --target demo .             the web page in front of a service
# Python 3.11 on Debian is all that is asked of a base: --build-arg BASE=registry.example/python:3.11-slim-bookworm.
# Kept to what older builders understand: no heredocs, no COPY --link, no frontend.
ARG BASE=python:3.11-slim-bookworm

# ---- Environments and code: made in stages of their own, so that no installer is in an image that runs. ----
FROM ${BASE} AS installer
WORKDIR /build
COPY requirements/serve.lock requirements/
# uv comes from the lock, by its hash, as everything does that it installs.
RUN awk '/^[a-z]/ { wanted = /^uv==/ } wanted' requirements/serve.lock > uv.txt \
    && pip install --no-cache-dir --no-deps --require-hashes -r uv.txt \
    && python -m venv --without-pip /opt/venv
ENV UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_REQUIRE_HASHES=1 VIRTUAL_ENV=/opt/venv
COPY pyproject.toml ./

FROM installer AS serve-environment
RUN uv pip install --constraint requirements/serve.lock -r pyproject.toml --extra serve --extra urls --extra otel

FROM installer AS cuda-environment
COPY requirements/serve-cuda.lock requirements/
RUN uv pip sync requirements/serve-cuda.lock

FROM installer AS train-environment
COPY requirements/dev.lock requirements/
RUN uv pip install --constraint requirements/dev.lock -r pyproject.toml --extra train --extra timm

FROM installer AS demo-environment
COPY requirements/demo.lock requirements/
RUN uv pip install --constraint requirements/demo.lock --group demo

FROM installer AS service-code
COPY linnet /app/linnet
COPY service /app/service
# By hash, unchecked: the file system is read-only when it runs, and copies may change a file's time.
RUN python -m compileall -q --invalidation-mode unchecked-hash /app

FROM installer AS trainer-code
COPY recipes /app/recipes
COPY linnet /app/linnet
COPY trainer /app/trainer
COPY export /app/export
RUN python -m compileall -q --invalidation-mode unchecked-hash /app

FROM installer AS demo-code
COPY client/linnet_client /app/linnet_client
COPY demo /app/demo
COPY examples /app/examples
RUN python -m compileall -q --invalidation-mode unchecked-hash /app

# ---- What the images have in common. ----
FROM ${BASE} AS runtime
RUN useradd --uid 10001 --user-group --home-dir /tmp --no-create-home --shell /usr/sbin/nologin linnet
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
# The process is the first of its container and gets the signals itself: SIGTERM drains the service.
ENTRYPOINT ["python", "-m", "linnet.cli"]
STOPSIGNAL SIGTERM
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Linnet" \
    org.opencontainers.image.description="From a folder of labelled images to a production REST classifier" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

FROM runtime AS serving
ENV LINNET_HOST=0.0.0.0 LINNET_PORT=8000 LINNET_MODELS_DIR=/models
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["python", "-ISc", \
    "import http.client as http, os, sys; \
    service = http.HTTPConnection('127.0.0.1', int(os.environ['LINNET_PORT']), timeout=2); \
    service.request('GET', '/readyz'); \
    sys.exit(service.getresponse().status != 200)"]
CMD ["serve"]

# ---- The images. Environment, models, code: what changes most comes last. ----
FROM runtime AS trainer
# A named volume takes the owner of the folder that it is first mounted on.
RUN mkdir /data /models /runs && chown linnet:linnet /models /runs
COPY --from=train-environment /opt/venv /opt/venv
COPY --from=trainer-code /app /app
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility TORCH_HOME=/runs/.torch
USER 10001:10001
CMD ["--help"]

FROM runtime AS demo
COPY --from=demo-environment /opt/venv /opt/venv
COPY --from=demo-code /app /app
EXPOSE 7860
USER 10001:10001
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 CMD ["python", "-ISc", \
    "import http.client as http, sys; \
    page = http.HTTPConnection('127.0.0.1', 7860, timeout=2); \
    page.request('GET', '/'); \
    sys.exit(page.getresponse().status != 200)"]
ENTRYPOINT ["python", "-m", "demo", "--host", "0.0.0.0", "--port", "7860"]
CMD ["--url", "http://linnet:8000"]

FROM serving AS service-cuda
COPY --from=cuda-environment /opt/venv /opt/venv
# Where CUDA's own packages put their libraries, for the loader: ONNX Runtime does not look there.
RUN find /opt/venv -type d -path '*/nvidia/*' -name lib > /etc/ld.so.conf.d/nvidia.conf && ldconfig
COPY --chown=10001:10001 models /models
COPY --from=service-code /app /app
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility LINNET_PROVIDER=cuda
USER 10001:10001

FROM serving AS service
COPY --from=serve-environment /opt/venv /opt/venv
COPY --chown=10001:10001 models /models
COPY --from=service-code /app /app
USER 10001:10001
