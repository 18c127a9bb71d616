# The server on a CPU. Build, run and reach it: docs/serving.md
FROM python:3.12-slim AS build
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY lib lib
COPY notebooks notebooks
COPY data/synthetic data/synthetic
COPY weights weights
COPY docs docs
RUN /venv/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && /venv/bin/pip install --no-cache-dir --no-deps /wheels/*.whl
# One answer converts the network, so that no container does it again.
WORKDIR /tmp/first
RUN /venv/bin/workbook predict --faces whole /src/data/synthetic/images/person0000_0.jpg

FROM python:3.12-slim
RUN useradd --uid 10001 --home-dir /app --create-home workbook
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /app
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["workbook"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
