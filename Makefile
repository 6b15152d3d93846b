# The README's commands. Each does all of its set-up: nothing but Python 3.11 or newer, make and the network is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SEED ?= 1
FAULTS ?= 200

.PHONY: bench bench-auth bench-drivers bench-instructions bench-jobs bench-limits bench-live bench-parts bench-plots bench-sizes bench-startup chaos clean coverage docs format lint lint-deploy new-all pins run soak stress-live test test-fastapi test-lowest

run: $(INSTALLED)  ## Serve the reference service on http://127.0.0.1:8000
	$(BIN)/hardpoint serve $(ARGS)

test: $(INSTALLED)  ## The whole test suite
	@# The tests start hundreds of processes: without bytecode each of them would compile everything that it imports.
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n auto --dist loadgroup $(ARGS)

coverage: $(INSTALLED)  ## The same with branch coverage, which costs a third more time
	$(MAKE) test ARGS="--cov --cov-report=term $(ARGS)"

test-fastapi: $(INSTALLED)  ## FastAPI's own tests with compiled routes, and the long comparison of generated ones
	HARDPOINT_EQUALITY_EXAMPLES=4000 $(BIN)/python -m pytest -q -n auto tests/routing
	$(BIN)/python scripts/fastapi_suite

test-lowest: $(INSTALLED)  ## The whole suite with the oldest version of each dependency that pyproject.toml allows
	rm -rf .venv-lowest
	$(PYTHON) -m venv .venv-lowest
	$(BIN)/uv pip compile --quiet --resolution lowest-direct --no-emit-index-url --no-annotate --no-header \
		--all-extras --python .venv-lowest/bin/python pyproject.toml --output-file .venv-lowest/requirements.txt
	@# What tests needs newer versions than these: pytest's plugins, the linters' stubs.
	$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python --requirement requirements.txt
	$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python --requirement .venv-lowest/requirements.txt
	$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python --no-deps --editable .
	$(MAKE) test VENV=.venv-lowest INSTALLED=

lint: $(INSTALLED)  ## Formatting, lint rules, strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests/typechecked

format: $(INSTALLED)  ## Apply the formatter and the safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(INSTALLED)  ## The documentation, as pages in site/; every warning is an error
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirement docs/requirements.txt
	$(BIN)/python -m sphinx --quiet --builder html --fail-on-warning --keep-going --fresh-env docs site

chaos: $(INSTALLED)  ## Everything breaks, two hundred times, under load: SEED=2 FAULTS=200
	env -u PYTHONDONTWRITEBYTECODE HARDPOINT_CHAOS_SEED=$(SEED) HARDPOINT_CHAOS_FAULTS=$(FAULTS) \
		$(BIN)/python -m pytest -s tests/chaos/test_faults.py $(ARGS)

lint-deploy: $(INSTALLED)  ## What linters and published schemas say of deploy/
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.txt --group deploy
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
	$(BIN)/python scripts/validate_kubernetes.py deploy/kubernetes.yaml
	@# Its names of upstreams are those of a file that is written anew, and nginx reloaded, when an address changes.
	$(BIN)/gixy --skips stale_dns_cache deploy/nginx/nginx.conf

soak: $(INSTALLED)  ## Ten minutes of load, in which nothing may grow
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -s tests/chaos/soak.py $(ARGS)

new-all: $(INSTALLED)  ## Projects of `hardpoint new`, each with its own tests and checks in a fresh environment
	$(BIN)/python scripts/new_all $(ARGS)

bench: $(INSTALLED)  ## The benchmarks of HTTP, as ratios measured side by side
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.txt --group bench
	@# It pins older versions than ours, with which it runs all the same.
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps 'fastapi-users>=15' 'fastapi-users-db-sqlalchemy>=7'
	$(BIN)/python benchmarks/run.py $(ARGS)
	$(BIN)/python benchmarks/plots.py

bench-sizes: $(INSTALLED)  ## What a request costs against the size of things
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.txt --group bench
	$(BIN)/python benchmarks/sizes.py $(ARGS)
	$(BIN)/python benchmarks/plots.py

bench-startup: $(INSTALLED)  ## What imports and starts cost, and what a process weighs
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.txt --group bench
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps 'fastapi-users>=15' 'fastapi-users-db-sqlalchemy>=7'
	$(BIN)/python benchmarks/startup.py

bench-parts: $(INSTALLED)  ## Each part alone, without a server, to find what has become slower
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.txt --group bench
	$(BIN)/python -m pytest benchmarks/parts.py --benchmark-only -p no:cacheprovider -q $(ARGS)

bench-instructions: $(INSTALLED)  ## Instructions of a request, which are the same on a busy machine
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.txt --group bench
	$(BIN)/python benchmarks/instructions.py $(ARGS)

bench-plots: $(INSTALLED)  ## Pictures of the last results, into docs/images
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.txt --group bench
	$(BIN)/python benchmarks/plots.py

bench-auth: $(INSTALLED)  ## What logins cost everybody else, and what their time tells a stranger
	$(BIN)/python benchmarks/logins.py $(ARGS)

bench-live: $(INSTALLED)  ## WebSocket fan-out beside other ways
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.txt --group bench
	$(BIN)/python benchmarks/live.py $(ARGS)

bench-limits: $(INSTALLED)  ## What clients notice while the limits' store is away, and what a million keys take
	$(BIN)/python benchmarks/outages.py $(ARGS)

bench-jobs: $(INSTALLED)  ## Durable jobs beside Celery, taskiq and procrastinate
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.txt --group bench
	$(BIN)/python benchmarks/jobs.py $(ARGS)

bench-drivers: $(INSTALLED)  ## asyncpg and psycopg, side by side on a real PostgreSQL
	$(BIN)/python benchmarks/drivers.py $(ARGS)

stress-live: $(INSTALLED)  ## Thousands of sockets at two processes, and a hundred faults while messages are published
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.txt --group bench
	$(BIN)/python benchmarks/stress_live.py $(ARGS)
	HARDPOINT_STORM_SEEDS=20 $(BIN)/python -m pytest tests/realtime/test_processes.py -q

pins: $(INSTALLED)  ## Refresh requirements.txt from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-emit-index-url --no-annotate \
		--no-header --all-extras --group dev pyproject.toml --output-file requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-emit-index-url --no-annotate \
		--no-header --constraint requirements.txt --group docs --output-file docs/requirements.txt

$(INSTALLED): pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "hardpoint needs Python 3.11 or newer; name one with PYTHON=..., for example: make run PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.txt)"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --requirement requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(INSTALLED)

clean:  ## Remove the environment and everything the tools cache
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov dist site .fastapi-suite
