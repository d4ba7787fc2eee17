# One image for worker, beat and Flower; the command says which.
#
# Packages are pinned by requirements.lock. To pin the base as well, name it by its digest:
#
#     docker build --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:... -t cf-workers .
ARG PYTHON_IMAGE=python:3.13-slim
FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# The lock is a constraint here: what only tests and linters need is not installed.
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN grep -v -e '^#' requirements.lock | sed -e 's/ *\\$//' -e '/--hash=/d' -e '/^ *$/d' > constraints.txt \
    && pip install --constraint constraints.txt setuptools
COPY cf_workers cf_workers
RUN pip install --constraint constraints.txt --no-build-isolation . \
    && pip uninstall --yes setuptools pip

FROM ${PYTHON_IMAGE}
RUN useradd --create-home --uid 10001 worker \
    && install -d -o worker -g worker /project /var/lib/cf_workers
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 XDG_STATE_HOME=/var/lib/cf_workers
USER 10001:10001
# Mount the project here, with its .claude folder.
WORKDIR /project
STOPSIGNAL SIGTERM
CMD ["celery", "-A", "cf_workers", "worker", "--loglevel=INFO"]
