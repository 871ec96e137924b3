# Two commands to start with: `make demo` and `make test`. Both install into .venv first, as
# `make install` does alone.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
STAMP = $(VENV)/installed
LAUNCH_VENV ?= .venv-launch
TPU_VENV ?= .venv-tpu
NEWEST_VENV ?= .venv-newest

.PHONY: demo test newest slow lint launch pod install

install: $(STAMP)

$(STAMP): requirements.txt
	@start=$$(date +%s); \
	$(PYTHON) -c 'import sys; sys.exit("genjax needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)' && \
	$(PYTHON) -m venv $(VENV) && \
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt && \
	touch $(STAMP) && echo "installed into $(VENV) in $$(( $$(date +%s) - start )) s; source $(VENV)/bin/activate makes its python yours"

# The digits table in its tiny size: one seed a row; table.md and samples.png grow with each row.
# Compiled for less than a user's runs, as are the tests: most of its programs run for seconds.
demo: $(STAMP)
	XLA_FLAGS="--xla_backend_optimization_level=1 $$XLA_FLAGS" $(RUN) -m experiments.table run --table=configs/tables/divergences_digits.py --size=tiny --jobs=2

# Most of its programs run once, so they are compiled for less: without optimisation and by XLA's
# older emitters, in half the time, where jaxlib has these (0.12 aborts on the flag, and its level 0
# makes nan of a mixture's fit). loadfile: one worker builds the fixtures of a file. The slow tier
# compiles as users do.
LESS = import jaxlib; print("--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0" if jaxlib.__version__.startswith("0.10.") else "--xla_backend_optimization_level=1")
test: $(STAMP)
	XLA_FLAGS="$$($(RUN) -c '$(LESS)') $$XLA_FLAGS" $(RUN) -m pytest -n 2 --dist loadfile -m "not slow"

# A canary: the test command with the newest of everything that the package index has for this
# Python (make newest PYTHON=python3.13), in an environment of its own that is made anew each time.
newest:
	$(PYTHON) -m venv --clear $(NEWEST_VENV)
	sed -E 's/==[^ ]+//' requirements.txt | sort -u > $(NEWEST_VENV)/names.txt
	$(NEWEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $(NEWEST_VENV)/names.txt
	@sed 's/ ;.*//' requirements.txt > $(NEWEST_VENV)/lock.txt; echo "newer than in requirements.txt:"; \
	$(NEWEST_VENV)/bin/python -m pip list --format=freeze --disable-pip-version-check | tr 'A-Z_' 'a-z-' | \
	grep -vxF -f $(NEWEST_VENV)/lock.txt || true
	XLA_FLAGS="--xla_backend_optimization_level=1 $$XLA_FLAGS" $(NEWEST_VENV)/bin/python -m pytest -n 2 -m "not slow"

slow: $(STAMP)
	$(RUN) -m pytest -n 2 -m slow

lint: $(STAMP)
	$(RUN) -m ruff check .

# The pod check with the compiler for TPUs, which no other command needs.
pod: $(TPU_VENV)/installed
	$(TPU_VENV)/bin/python -m pytest tests/experiments/test_compile.py

$(TPU_VENV)/installed: requirements.txt requirements-tpu.txt
	$(PYTHON) -m venv $(TPU_VENV)
	$(TPU_VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-tpu.txt
	touch $@

# The launch files against their validators, which pin other versions: an environment of their own.
launch: $(STAMP) $(LAUNCH_VENV)/installed
	GENJAX_LAUNCH_VENV=$(LAUNCH_VENV) $(RUN) -m pytest tests/launch

$(LAUNCH_VENV)/installed: launch/requirements.txt
	$(PYTHON) -m venv $(LAUNCH_VENV)
	$(LAUNCH_VENV)/bin/pip install --quiet --disable-pip-version-check -r launch/requirements.txt
	touch $@
