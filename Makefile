# make demo   sets up what is missing, segments the bundled synthetic subject into out/demo
# make test   sets up what is missing, runs all tests but the slow ones
# make test-slow   runs the slow tests
# make lint   ruff, mypy and the rule between packages
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := InfantBrainSeg/Resources/SampleData
OUT := out/demo

.PHONY: setup demo test test-slow lint benchmark clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test,cluster]"
	touch $@

demo: $(STAMP)
	$(BIN)/python -m InfantBrainSegLib segment --t1 $(DEMO)/T1.nii.gz --t2 $(DEMO)/T2.nii.gz --output-dir $(OUT)
	$(BIN)/python -m InfantBrainSegLib evaluate --prediction $(OUT)/segmentation.nii.gz --reference $(DEMO)/label.nii.gz
	@echo "Look at $(OUT)/overview.png"

test: $(STAMP)
	.ci/system_libraries
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest --numprocesses auto -m "not slow"

test-slow: $(STAMP)
	.ci/system_libraries
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest --numprocesses auto -m slow

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmark: $(STAMP)
	$(BIN)/python -m Testing.benchmarks speed

clean:
	rm -rf $(VENV) out build dist *.egg-info
