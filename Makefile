# Everything runs from .venv, which `install` makes and every other target asks for; nothing is activated.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
DISTS := -e ".[dev,docs]" -e integrations/langchain -e integrations/llama-index -e "integrations/ray[serve]"
METADATA := pyproject.toml integrations/langchain/pyproject.toml integrations/llama-index/pyproject.toml integrations/ray/pyproject.toml

# The stamp carries the version of PYTHON, so that another PYTHON= gets a new .venv.
SAY_VERSION := import sys; print("%d.%d" % sys.version_info[:2])
VERSION := $(shell $(PYTHON) -c '$(SAY_VERSION)')
STAMP := $(VENV)/installed-$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-newest test-clients check fix docs install mini-report

help: ## say what there is
	@grep -E '^[a-z-]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 22

demo: $(STAMP) ## retrieve, rerank, guard and route: once through LangChain, once through LlamaIndex
	@$(PY) examples/demo.py

NEWEST := $(VENV)/newest
test-newest: $(NEWEST)/made ## run the LangChain tests and pages with the newest langchain-core and langchain
	$(NEWEST)/bin/python -m pytest integrations/langchain/tests $(ARGS)
	$(NEWEST)/bin/python -m pytest tests/test_docs.py -k "decisions or langchain"

# A resolver may stop before the newest LangChain, because other packages' pins hold it back. So it lies in a venv of its
# own, without its dependencies, in front of everything that .venv has.
$(NEWEST)/made: $(STAMP) constraints/newest.txt
	$(PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/python -c 'import site, sys; open(site.getsitepackages()[0] + "/beneath.pth", "w").write( \
		f"import site; site.addsitedir({sys.argv[1]!r})\n")' "$$($(PY) -c 'import site; print(site.getsitepackages()[0])')"
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-installed -r constraints/newest.txt
	@touch $@

test: $(STAMP) ## run all tests; ARGS="-k name" chooses among them
	$(PY) -m pytest $(ARGS)

test-slow: $(STAMP) ## load, faults, fuzzing, Ray: minutes, and left out of test
	$(PY) -m pytest -m slow --ignore=tests/clients $(ARGS)

CLIENTS := $(VENV)/clients
RUN_CLIENTS = HEADGATE_PYTHON=$(abspath $(PY)) $(CLIENTS)/bin/python -m pytest -m slow tests/clients
test-clients: $(CLIENTS)/made ## run other people's clients, unchanged, against headgate serve
	$(RUN_CLIENTS) $(ARGS)
	PYTHONPATH=$(abspath $(CLIENTS)/newest) $(RUN_CLIENTS) -k "cohere or litellm"

# They need neither torch nor headgate: the server is a process of .venv. Newer releases that don't resolve with the
# others lie in a folder in front of them; npm's are there where npm is.
$(CLIENTS)/made: $(STAMP) constraints/clients.txt constraints/clients-newest.txt tests/clients/package.json
	$(PYTHON) -m venv --clear $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check -r constraints/clients.txt
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--target $(CLIENTS)/newest -r constraints/clients-newest.txt
	cp tests/clients/package.json $(CLIENTS)/
	! command -v npm >/dev/null || npm install --prefix $(CLIENTS) --no-audit --no-fund --silent
	@touch $@

check: $(STAMP) ## ruff, mypy, import-linter
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check --quiet . || { echo 'Run: make fix'; exit 1; }
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --no-logo

fix: $(STAMP) ## let ruff mend and format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(STAMP) ## build the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict
	@echo 'Open build/site/index.html'

DATA ?= ../shared/data
mini-report: $(STAMP) ## measure mini on the data sets under DATA; writes build/mini.html and build/figures.json
	@mkdir -p build
	$(PY) -m headgate.train.mini.report --folder src/headgate/mini --data $(DATA) \
		--figures build/figures.json --html build/mini.html --dtype bfloat16

install: $(STAMP) ## make .venv with headgate, both integrations and all tools

# One pip command: the integrations need headgate, which pip finds only beside them.
$(STAMP): $(METADATA) constraints/cpu.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'headgate needs Python 3.11 or newer: make PYTHON=python3.11 install'; exit 1; }
	@test "$$($(PY) -c '$(SAY_VERSION)' 2>/dev/null)" = "$(VERSION)" || $(PYTHON) -m venv --clear $(VENV)
	@echo 'Installing into $(VENV) (a minute or two, the first time)'
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints/cpu.txt $(DISTS)
	@touch $@
