# make demo: simulate, reconstruct and compare. make test: run the tests. make docs: build the site.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
DOCS_READY := .venv/docs-ready
SPHINX := --fail-on-warning --keep-going -d docs/_build/doctrees
DEMO := demo
SCAN := $(DEMO)/MultiCoil/Cine/TrainingSet/FullSample/Center000/Simulated_30T_phantom/P001
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test test-all lint format docs bench clean

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(READY)

$(DOCS_READY): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $(DOCS_READY)

demo: $(READY)
	rm -rf $(DEMO)
	$(BIN)/cmrrecon simulate --slice-count 1 --coils 8 --size 128x256 --out-dir $(DEMO)
	$(BIN)/cmrrecon undersample $(SCAN)/cine_sax.mat --pattern kt-gaussian -R 8 --out-dir $(DEMO)
	$(BIN)/cmrrecon reconstruct $(DEMO)/cine_sax_kus_ktGaussian8.mat -o $(DEMO)/cine.h5
	$(BIN)/cmrrecon reconstruct $(DEMO)/cine_sax_kus_ktGaussian8.mat -o $(DEMO)/cine.gif
	$(BIN)/cmrrecon evaluate $(DEMO)/cine.h5 --truth $(SCAN)/cine_sax_truth.npz
	$(BIN)/cmrrecon compare $(DEMO)/cine_sax_kus_ktGaussian8.mat --truth $(SCAN)/cine_sax_truth.npz -o $(DEMO)/comparison.png
	@echo "Done: see $(DEMO)/comparison.png and the movie $(DEMO)/cine.gif"

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow"

test-all: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(DOCS_READY)
	$(BIN)/sphinx-build $(SPHINX) -b html docs docs/_build/html
	$(BIN)/sphinx-build $(SPHINX) -b doctest docs docs/_build/doctest
	@echo "Done: see docs/_build/html/index.html"

bench: $(READY)
	$(BIN)/python benchmarks/all.py

clean:
	rm -rf .venv $(DEMO) build docs/_build docs/api/generated docs/gallery *.egg-info .pytest_cache .mypy_cache .ruff_cache
