# Two images: `server`, the static server, is the last target and the one that `docker build .` makes; `gpu` draws prompts.
# No key and no token are in either, and no weights but those of the small model in `gpu`; certs/ and models/ come as
# volumes, settings as environment variables.

FROM python:3.11-slim AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
COPY requirements-light.txt /tmp/
RUN /venv/bin/pip install -r /tmp/requirements-light.txt

FROM packages AS gpu-packages
# CUDA 13, from Turing to Blackwell; older cards: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126
ARG TORCH_INDEX=https://download.pytorch.org/whl/cu130
RUN /venv/bin/pip install torch==2.13.0 --index-url "$TORCH_INDEX"
COPY requirements.txt /tmp/
RUN /venv/bin/pip install -r /tmp/requirements.txt

FROM python:3.11-slim AS program
RUN groupadd --gid 1000 minimon && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /app minimon
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MINIMON_HOST=0.0.0.0
WORKDIR /app
COPY gen-server.py gen_server.py download_models.py ./
COPY minimon_server ./minimon_server
COPY minimon ./minimon
COPY models/catalog.toml ./models/
RUN python -m compileall -q gen_server.py minimon_server \
 && install -d -o 1000 -g 1000 certs data models
# A number, so that an orchestrator can see that it is not root's.
USER 1000:1000
EXPOSE 22222 8009
# Alive means that the HTTP listener answers; whether to send requests here is what /ready says.
# No --start-interval: engines before 25 and their builder refuse it.
HEALTHCHECK --interval=30s --timeout=3s --start-period=15s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8009/health', timeout=2)"]
STOPSIGNAL SIGTERM
CMD ["python", "gen-server.py"]

FROM program AS gpu
# triton builds the launchers of compiled kernels with a C compiler.
USER 0:0
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
USER 1000:1000
# torch's wheels bring CUDA along; the driver comes from the host, by NVIDIA's container toolkit.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=gpu-packages /venv /venv
COPY models/minimon-tiny ./models/minimon-tiny
COPY models/loras ./models/loras

FROM program AS server
COPY --from=packages /venv /venv
