# Everything a contributor or CI calls. `make` alone lists it.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
BENCH_READY := .venv-bench/.ready
BENCHES := steps history throughput replay cold budget records outage
QUESTION ?= What did the Lighthouse project cost in total, and how much of its budget is left?
COVERAGE_FLOOR := 90
# Tests wait for servers half of their time: four processes keep two cores busy, and take half as long as two.
TESTERS := 4
# Commands and workers are started hundreds of times: without bytecode each takes twice as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(READY) ## Make .venv with every extra and group (uv when there is one, else pip)

# Both install what uv.lock says. pip knows groups from 25.1 on, hence the upgrade first.
$(READY): pyproject.toml uv.lock
	@if command -v uv >/dev/null 2>&1; then \
	  uv sync --quiet --compile-bytecode --all-groups --no-group bench --all-extras --frozen; \
	else \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "executus needs Python 3.11 or newer; set PYTHON=")' && \
	  $(PYTHON) -m venv .venv && \
	  $(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' && \
	  $(PYTHON) .ci/constraints.py uv.lock > .venv/constraints.txt && \
	  $(BIN)/python -m pip install -qq -c .venv/constraints.txt --editable '.[server,postgres,s3,mcp]' --group dev; \
	fi
	@touch $@

.PHONY: demo
demo: $(READY) ## An agent answers QUESTION about the files in FOLDER (a sample comes along)
	@$(BIN)/executus run $(if $(FOLDER),--folder "$(FOLDER)") "$(QUESTION)"

.PHONY: examples
examples: $(READY) ## Run every program of examples/, offline without a key
	@for name in hello support_desk research_pipeline long_migration; do \
	  $(BIN)/python examples/$$name.py || exit $$?; echo; \
	done

.PHONY: test
test: $(READY) ## All tests, real servers included
	@$(BIN)/python -m pytest -q -n $(TESTERS) --dist worksteal

.PHONY: coverage
coverage: $(READY) ## The same, measured: at least 90 % of branches (takes twice as long)
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -q -n $(TESTERS) --dist worksteal
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --fail-under=$(COVERAGE_FLOOR)

.PHONY: check
check: $(READY) ## Lint, format, types, layers: every gate that runs no test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy worker.py examples
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

.PHONY: format
format: $(READY) ## Format, and fix what the linter can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: bench
bench: $(BENCH_READY) ## Every benchmark, --quick, beside its rivals, in .venv-bench
	@failed=0; for name in $(BENCHES); do .venv-bench/bin/python -m bench.$$name --quick || failed=1; done; exit $$failed

$(BENCH_READY): pyproject.toml uv.lock
	@if command -v uv >/dev/null 2>&1; then \
	  UV_PROJECT_ENVIRONMENT=.venv-bench uv sync --quiet --compile-bytecode --frozen --no-default-groups --group bench --extra server --extra postgres; \
	else \
	  $(PYTHON) -m venv .venv-bench && \
	  .venv-bench/bin/python -m pip install --quiet --upgrade 'pip>=25.1' && \
	  $(PYTHON) .ci/constraints.py uv.lock > .venv-bench/constraints.txt && \
	  .venv-bench/bin/python -m pip install -qq -c .venv-bench/constraints.txt --editable '.[server,postgres]' --group bench; \
	fi
	@touch $@

.PHONY: clean
clean: ## Remove caches, builds and the embedded server's data; keeps .venv
	rm -rf .executus build dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
