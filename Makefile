# make run     everything on this machine, with a first message sent, until Ctrl-C
# make test    every check and every test
SHELL = /bin/sh
PYTHON = .venv/bin/python
PACKAGES = sprayer_project tenants subscriptions feedback messaging deploy clients/python
PIP_COMPILE = .venv/bin/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

.PHONY: run stop setup test pytest soak lint format bench screenshots lock

run:
	@deploy/local/bootstrap.sh run
	@exec $(PYTHON) -m deploy.local.run

stop:
	@test -x $(PYTHON) || { echo "sprayer: nothing was running"; exit 0; }; exec $(PYTHON) -m deploy.local.run stop

setup:
	@deploy/local/bootstrap.sh test

test: setup lint pytest

# All tests side by side, each process with servers of its own; ARGS narrows it: make pytest ARGS="tests/tenants -k revoked"
ARGS = --numprocesses auto --maxprocesses 4 --dist worksteal
pytest: setup
	@unset DJANGO_SETTINGS_MODULE; exec $(PYTHON) -m pytest $(ARGS)

# The tests of tests/soak with a million of what they have thousands of: half an hour, and some gigabytes.
soak: setup
	@unset DJANGO_SETTINGS_MODULE; SOAK=on exec $(PYTHON) -m pytest tests/soak

lint: setup
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy $(PACKAGES)

format: setup
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

bench:
	@deploy/local/bootstrap.sh bench
	@exec $(PYTHON) -m benchmarks

screenshots: setup
	@exec $(PYTHON) -m deploy.screenshots

lock: setup
	$(PIP_COMPILE) --output-file requirements.lock pyproject.toml
	$(PIP_COMPILE) --extra dev -c requirements.lock --output-file requirements-dev.lock pyproject.toml
