# `make` alone lists the targets. Nothing is needed beforehand but Python >= 3.11 with venv, and make.
PYTHON ?= python3
JOBS   ?= 3
EXTRAS ?= all

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP   := $(BIN)/python -m pip --disable-pip-version-check -qq

# The tests start hundreds of processes: each would compile anew all that it loads.
unexport PYTHONDONTWRITEBYTECODE

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo test check rig bench dist wheelhouse release verifier corpus soak fuzz docs clean .venv

help:  ## list the targets
	@awk -F ':.*## ' '/^[.a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP)  ## sixty-second tour on this machine: allowed, approved, refused, tampered, verified
	@$(BIN)/rexecop demo

test: $(STAMP)  ## the tests
	@$(BIN)/pytest -q -n $(JOBS) --dist worksteal

check: $(STAMP)  ## everything a change must pass: format, lint, types, layers, tests
	@echo "format"; $(BIN)/ruff format --check --quiet --output-format concise
	@echo "lint";   $(BIN)/ruff check --quiet --output-format concise
	@echo "types";  $(BIN)/mypy --no-error-summary
	@echo "layers"; $(BIN)/lint-imports --no-logo > $(VENV)/layers.txt || { cat $(VENV)/layers.txt; exit 1; }
	@echo "size     $$($(BIN)/python -m tests.house.source) (63,600 of code is the wall)"
	@echo "tests";  $(BIN)/pytest -q -n $(JOBS) --dist worksteal

rig: $(STAMP)  ## a site on loopback to try the tecrax profile on, until Ctrl-C (docs/rig.md)
	@$(BIN)/python -m tests.rig

bench: $(STAMP)  ## the figures of docs/architecture.md, as ratios beside a floor measured in the same run
	@$(BIN)/python bench

soak: $(STAMP)  ## what only time or luck finds (minutes); SEED=1 ROUNDS=1 ENGINE='dbos on postgres' repeats a round of faults
	@$(BIN)/python -m tests.soak $(if $(SEED),--seed $(SEED)) $(if $(ENGINE),--engine '$(ENGINE)') \
		$(if $(ROUNDS),--rounds $(ROUNDS),--minutes $(or $(MINUTES),10))
	@$(if $(ROUNDS),:,REXECOP_HYPOTHESIS=soak $(BIN)/pytest -q -m soak)

fuzz: $(STAMP)  ## 20,000 altered bundles, of which none may be believed, and a coverage-guided minute
	@$(BIN)/python conformance/campaign.py --bundles 20000
	@$(BIN)/python conformance/fuzz_verify.py --seconds 60 2>&1 | tail -n 1

docs: $(STAMP)  ## write docs/reference and the vectors of docs/formats anew from the code
	@$(BIN)/python -m scripts.reference && $(BIN)/python -m scripts.vectors

verifier:  ## dist/rexecop-verify.pyz: the verifier as one file, for Python >= 3.11 and nothing else
	@$(PYTHON) -I scripts/build_verifier.py dist/rexecop-verify.pyz

corpus: $(STAMP)  ## write conformance/cases anew, after a change of a format or a code
	@$(BIN)/python conformance/generate.py

dist: $(STAMP)  ## wheels, source archives and the verifier, checked, digested and tried
	@rm -rf dist
	@for folder in . profiles/tecrax profiles/recon; do \
		$(BIN)/python -m build --outdir dist $$folder > $(VENV)/build.txt 2>&1 || { cat $(VENV)/build.txt; exit 1; }; \
	done
	@$(BIN)/twine --no-color check --strict dist/*
	@$(MAKE) verifier PYTHON=$(BIN)/python
	@cd dist && sha256sum *.whl *.tar.gz *.pyz > SHA256SUMS && cat SHA256SUMS
	@PYTHON=$(PYTHON) bash scripts/quickstart-from-wheels dist

wheelhouse: $(STAMP)  ## wheelhouse/: every wheel for an install without a network, locked by digest, and tried (docs/install.md)
	@rm -rf wheelhouse && mkdir wheelhouse
	@for folder in . profiles/tecrax profiles/recon; do \
		$(BIN)/python -m build --wheel --outdir wheelhouse $$folder > $(VENV)/build.txt 2>&1 || { cat $(VENV)/build.txt; exit 1; }; \
	done
	@$(PIP) download --only-binary :all: --dest wheelhouse "$$(ls wheelhouse/rexecop-*.whl)[$(EXTRAS)]" wheelhouse/tecrax-*.whl wheelhouse/recon-*.whl
	@$(BIN)/python -m scripts.wheels lock wheelhouse
	@cp scripts/install-offline wheelhouse/install
	@PYTHON=$(BIN)/python wheelhouse/install $(VENV)/offline > $(VENV)/offline.txt || { cat $(VENV)/offline.txt; exit 1; }
	@$(VENV)/offline/bin/rexecop version; rm -rf $(VENV)/offline

release: dist wheelhouse  ## dist/ with lock, bill of materials and a signed statement (docs/release.md); KEY=FILE signs
	@$(BIN)/python -m scripts.release sign dist --wheelhouse wheelhouse --key $(KEY)
	@scripts/verify-release dist $(KEY).pub

clean:  ## remove what the targets made
	@rm -rf dist wheelhouse build $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find src profiles tests bench scripts conformance -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

.venv: $(STAMP)  ## the virtual environment, with everything installed into it (PYTHON=python3.12 picks another)

# Wheels only: nothing is compiled, so no compiler is needed.
$(STAMP): pyproject.toml profiles/tecrax/pyproject.toml profiles/recon/pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about half a minute)"
	@$(PIP) install --only-binary :all: -e '.[all,dev]' -e profiles/tecrax -e profiles/recon
	@touch $@
