# StocksBlitz: `make help` tells what there is.
.DEFAULT_GOAL := help
.PHONY: help run test check format bench clean venv venv-dev
PYTHON := .venv/bin/python
# Settings for the production checks of Django.
PRODUCTION := DEBUG=0 SECRET_KEY=checks-only-$(shell date +%s)-not-a-secret-0123456789-abcdefghijklmnopqrstuvwxyz \
	ALLOWED_HOSTS=stocksblitz.example ALLOWED_ORIGINS=https://stocksblitz.example

# Checks look at models, not at data: a fresh clone has no folder for a database yet.
NO_DATABASE := DATABASE_URL=sqlite://:memory:

# What follows `bench` on the command line names benchmarks, no targets.
ifeq ($(firstword $(MAKECMDGOALS)),bench)
BENCHMARKS := $(wordlist 2,99,$(MAKECMDGOALS))
.PHONY: $(BENCHMARKS)
$(BENCHMARKS): ; @:
endif

help: ## Tell what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: venv ## Install what is missing and run everything on http://127.0.0.1:8000 (PORT, FEED, … from the environment)
	@exec $(PYTHON) manage.py run --with-parent

test: venv-dev ## Install what tests need and run all of them (make test ARGS="tests/market -x" runs some)
	@sh scripts/browser
	@exec $(PYTHON) -m pytest $(or $(ARGS),-n 4 --dist loadgroup)

check: venv-dev ## Format, lint, types, module boundaries, Django's own checks, missing migrations, the page's types
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy .
	@.venv/bin/lint-imports
	@$(NO_DATABASE) $(PYTHON) manage.py check --fail-level WARNING
	@$(NO_DATABASE) $(PRODUCTION) $(PYTHON) manage.py check --deploy --fail-level WARNING
	@$(NO_DATABASE) $(PYTHON) manage.py makemigrations --check --dry-run
	@sh scripts/types

format: venv-dev ## Format the code and mend what the linter can
	@$(PYTHON) -m ruff format .
	@$(PYTHON) -m ruff check --fix .

bench: venv-dev ## Run the benchmarks (make bench fanout compute runs two)
	@exec $(PYTHON) -m bench $(BENCHMARKS)

clean: ## Remove the environment, caches and built files; the data folder stays
	@rm -rf .venv node_modules static-built .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv:
	@sh scripts/venv requirements.txt

venv-dev:
	@sh scripts/venv requirements-dev.txt
