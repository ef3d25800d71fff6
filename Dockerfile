# The static server in an image: the last target, `server`, is the one that `docker build .` makes.
# No key and no token is in it; certs/ comes as a volume, settings as environment variables.

FROM python:3.11-slim AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
COPY requirements.txt /tmp/requirements.txt
RUN /venv/bin/pip install -r /tmp/requirements.txt

FROM python:3.11-slim AS server
RUN groupadd --gid 1000 minimon && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /app minimon
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MINIMON_HOST=0.0.0.0
WORKDIR /app
COPY --from=packages /venv /venv
COPY gen-server.py gen_server.py ./
COPY minimon_server ./minimon_server
COPY minimon ./minimon
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
