# Two commands do everything: `make demo` and `make test`. Both set up what they need, once.
#
# Needs: Linux x86-64 with glibc 2.28+, python3 (3.8+), g++, make. uv is installed into .uv/, everything else into
# .venv/. Python 3.10 is taken from PATH, pyenv or uv, in this order.

UV := .uv/bin/uv
READY := .venv/.ready
PYTHON310 := $(shell for p in $$(command -v python3.10 2>/dev/null) $$(ls -d $${PYENV_ROOT:-$$HOME/.pyenv}/versions/3.10.*/bin/python 2>/dev/null | tail -n 1); do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' 2>/dev/null && { echo "$$p"; break; }; done)

.PHONY: setup demo test fast lint bench-data bench-model fuzz clean

setup: $(READY)

$(UV):
	python3 -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv

# Byte-compiling once makes every later start three times faster where PYTHONDONTWRITEBYTECODE is set.
$(READY): pyproject.toml uv.lock | $(UV)
	UV_PYTHON="$(or $(PYTHON310),3.10)" $(UV) sync --locked --quiet
	-.venv/bin/python -m compileall -q -j 0 .venv/lib/python3.10/site-packages >/dev/null 2>&1
	touch $(READY)

# The whole pipeline on phantom exams, then a real exam graded over gRPC. Everything lands in demo/.
demo: $(READY)
	.venv/bin/breast-density demo

# All tests, in two processes, and the linters.
test: $(READY) lint
	.venv/bin/python -m pytest -n 2 --dist loadgroup

# The tests that take seconds.
fast: $(READY)
	.venv/bin/python -m pytest -m "not e2e and not slow"

lint: $(READY)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

# Segmentation, decoders, throughput and memory; writes docs/benchmarks.md. Wants the machine for itself.
bench-data: $(READY)
	.venv/bin/python -m benchmarks.report docs/benchmarks.md "Benchmarks of ingest and preprocessing" \
		segmentation decoders throughput memory

# Training, judging and explaining; writes docs/benchmarks_model.md. Wants the machine for itself.
bench-model: $(READY)
	.venv/bin/python -m benchmarks.report docs/benchmarks_model.md "Benchmarks of training, judging and explaining" \
		training explainer

# 20,000 mutated files through ingest, for crashes, hangs, untyped errors and memory. A quarter of an hour.
fuzz: $(READY)
	.venv/bin/python -m benchmarks.fuzz --files 20000 --seed 1

clean:
	rm -rf demo runs .venv .uv
