# rlm_eval with its embedded model's engine. Results and the cache are volumes:
#   docker build -t rlm-eval .
#   docker run --rm -v "$PWD/results:/app/results" -v rlm-cache:/cache rlm-eval run debug=scripted
# The REPL's strongest isolation needs user namespaces, which most container runtimes do not allow:
# `docker run --rm rlm-eval doctor` reports the tiers that work (docs/isolation.md).
FROM python:3.11-slim
WORKDIR /app
ENV RLM_EVAL_CACHE=/cache PIP_NO_CACHE_DIR=1
COPY pyproject.toml setup.py MANIFEST.in constraints.txt README.md LICENSE THIRD_PARTY.md ./
COPY rlm_eval rlm_eval
COPY configs configs
COPY benchmarks benchmarks
RUN pip install -c constraints.txt ".[local]" && useradd --create-home runner \
    && mkdir -p /cache results && chown runner /cache results
USER runner
ENTRYPOINT ["rlm-eval"]
