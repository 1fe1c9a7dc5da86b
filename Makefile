# make eval, make test: each sets up what it needs in .venv first, once.
STAGES := functional optimized
SYSTEM ?= n150
BRINGUP := models/microsoft/Phi-3-mini-128k-instruct/$(SYSTEM)
PROMPT := ttnn_verify/prompts/kjv-heldout.txt
READY := .venv/.ready
PYTEST_ARGS ?= -n 2

.PHONY: eval quick test faults coverage lint types clean distclean

# Each stage of the bring-up, the second even if the first one fails. make eval SYSTEM=t3000 has it on
# eight chips.
eval: $(READY)
	@status=0; for stage in $(STAGES); do \
	    printf '%s\n' "--- $$stage stage ---"; \
	    .venv/bin/python eval.py $(BRINGUP)/$$stage/model.py --model assets/phi3-tiny \
	        --prompt_file $(PROMPT) --max_new_tokens 100 --min_new_tokens 100 || status=1; \
	done; exit $$status

# A part of every tier, for the loop of editing and looking; tests/support/quick.py says which.
quick: $(READY)
	@.venv/bin/python -m pytest --quick --arithmetic rounded $(PYTEST_ARGS)

# With the figures of every comparison held against the last accepted ones; see ttnn_verify/baseline.
# Several chips are another system, and a process emulates one.
APART := --ignore=tests/faults --ignore=tests/locating --ignore=tests/variants --ignore=tests/mesh
test: $(READY)
	@status=0; \
	.venv/bin/python -m pytest $(APART) --pcc-check baselines $(PYTEST_ARGS) || status=1; \
	.venv/bin/python -m pytest tests/mesh --system t3000 $(PYTEST_ARGS) || status=1; \
	exit $$status

# The tests of the tests: each fault of the catalogue must be caught, and located in the whole model;
# no variant of a model without a fault may be accused.
faults: $(READY)
	@.venv/bin/python -m pytest $(PYTEST_ARGS) tests/faults tests/locating tests/variants

# Lines of the packages that a run reaches; PART= takes the whole of make test instead of make quick.
# What numba compiles counts as not reached.
PART ?= --quick
coverage: $(READY)
	@.venv/bin/python -m pytest $(PART) $(APART) $(PYTEST_ARGS) \
	    --cov --cov-report=term:skip-covered

lint: $(READY) types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

types: $(READY)
	@.venv/bin/mypy

# Written last, so that an interrupted installation is taken up again. An environment that is there is
# used, and a torch in it that is not PyPI's (a CPU-only one, say) stays; see docs/start.md.
$(READY): pyproject.toml constraints.txt scripts/find_python.sh scripts/constraints.py
	@python=$$(sh scripts/find_python.sh) && \
	{ [ -x .venv/bin/python ] || $$python -m venv .venv; } && \
	.venv/bin/python scripts/constraints.py > .venv/constraints.txt && \
	.venv/bin/python -m pip install -qq --disable-pip-version-check \
	    --constraint .venv/constraints.txt --editable '.[test]' && \
	touch $(READY)

# What runs leave behind: caches and reports, not the environment.
clean:
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage .coverage.* build generated reports
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# The environment too: the next target installs it again.
distclean: clean
	rm -rf .venv
