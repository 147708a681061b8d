# Everything here sets itself up in .venv; nothing but Python 3.11 or newer and make is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Where data could be lost no branch goes untested: each of these modules is held to it by tests of its own.
GUARDED := floradl/api/canvas.py floradl/api/lists.py floradl/api/paging.py floradl/api/projects.py \
	floradl/api/raw_json.py floradl/api/walk.py floradl/archiver/compare.py floradl/archiver/folder_cache.py \
	floradl/archiver/scan.py floradl/archiver/scanner.py floradl/buffers.py floradl/download/commit.py \
	floradl/download/context.py floradl/download/dedupe.py floradl/download/missing.py floradl/download/multipart.py \
	floradl/download/plan.py floradl/download/prepare.py floradl/download/ranges.py floradl/download/request.py \
	floradl/download/response.py floradl/download/streaming.py floradl/download/tally.py floradl/download/transfer.py \
	floradl/download/validators.py floradl/download/codings.py floradl/download/checksums.py floradl/download/bodies.py \
	floradl/download/receiving.py floradl/download/fresh_urls.py floradl/download/imagekit.py floradl/download/attempts.py \
	floradl/network/bandwidth.py floradl/network/body.py floradl/network/concurrency.py floradl/network/http11.py \
	floradl/network/message.py floradl/network/retry.py floradl/repository/canvas.py floradl/repository/entries.py floradl/repository/found_files.py floradl/repository/history.py \
	floradl/repository/journal.py floradl/repository/labels.py floradl/repository/layout.py floradl/repository/lock.py \
	floradl/repository/manifest.py floradl/repository/repository.py floradl/repository/snapshot.py floradl/storage/aside.py \
	floradl/storage/base.py floradl/storage/destination.py floradl/storage/digest.py floradl/storage/local/direct_io.py \
	floradl/storage/local/flock.py floradl/storage/local/folder.py floradl/storage/local/folder_dates.py \
	floradl/storage/local/fsync.py floradl/storage/local/known_folders.py floradl/storage/local/no_links.py \
	floradl/storage/local/partial.py floradl/storage/local/reader.py floradl/storage/local/shared_memory.py \
	floradl/storage/local/writer_pool.py floradl/storage/local/writer_process.py
# floradl/a/b.py is tested by tests/a/test_b.py; where that is not there, by the tests of its neighbours.
tests_of = $(wildcard $(foreach path,$(1),$(dir $(path:floradl/%=tests/%))test_$(notdir $(path))))
GUARDED_TESTS := $(call tests_of,$(GUARDED))

.DEFAULT_GOAL := help
PROPERTIES := tests/repository/test_layout.py tests/repository/test_journal.py tests/archiver/test_scan_machine.py tests/archiver/test_fuzz.py \
	tests/network/test_fuzz_http11.py

.PHONY: help demo test nightly mutants coverage bench bench-tiny bench-gallery screenshots docs lint lock format clean

help:
	@echo "make demo      archive a made-up account from a local FLORA into ./demo-archive, twice"
	@echo "make test      ruff, mypy and the whole test suite; every branch where data could be lost is taken"
	@echo "make nightly   every property test with a thousand examples, more kills, power cuts and failing disks; takes an hour or two"
	@echo "make mutants   guarded modules made wrong in SAMPLE=60 places drawn by SEED=1: which mistakes do their tests miss?"
	@echo "make coverage  the whole suite, and which branches it misses anywhere"
	@echo "make bench     measure floradl beside aria2c, curl and others; takes an hour or two"
	@echo "make bench-tiny  every benchmark once with next to nothing to do: do they still work?"
	@echo "make screenshots  pictures of the gallery for docs/gallery"
	@echo "make bench-gallery  an archive of 100,000 outputs in Chromium, for docs/performance.md"
	@echo "make docs      write docs/cli.md anew, and what the README shows of a terminal"
	@echo "make lock      the newest versions that pyproject.toml allows, written to requirements/"
	@echo "make format    let ruff lay out the code"
	@echo "make clean     remove .venv, caches and the demo's archive"

# Everything installed is one that requirements/*.txt names, by version and hash; `make lock` writes them anew. Hatchling is among them.
INSTALL := -m pip install --quiet --disable-pip-version-check

$(VENV)/installed: pyproject.toml requirements/run.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) --require-hashes --requirement requirements/run.txt
	$(BIN)/python $(INSTALL) --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	touch $@

$(VENV)/installed-tests: $(VENV)/installed requirements/test.txt
	$(BIN)/python $(INSTALL) --require-hashes --requirement requirements/test.txt
	touch $@

# For every Python and system that floradl runs on: what only some of them need has a marker. The tests' list holds the other one too,
# with the same versions. `tests/test_requirements.py` fails when pyproject.toml names what they lack.
COMPILE = $(VENV)/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"

lock:
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/python $(INSTALL) uv==0.13.9
	$(COMPILE) pyproject.toml --group build --output-file requirements/run.txt
	$(COMPILE) pyproject.toml --group build --group test --constraint requirements/run.txt --output-file requirements/test.txt

demo: $(VENV)/installed
	$(BIN)/floradl demo demo-archive

# What a module's tests have in common (a browser, the outcomes of a table) is made once: a file's tests run in one process.
# A process that is gone, as after a hang, is not replaced: the test it had would be given to the next one, and so on.
PARALLEL := -n auto --dist loadfile --max-worker-restart=0

# In two parts, since measuring makes tests twice as slow; so nothing else is measured.
comma := ,
space := $() $()
test: lint
	$(BIN)/python -m coverage run --source=$(subst $(space),$(comma),$(subst /,.,$(GUARDED:%.py=%))) -m pytest $(GUARDED_TESTS)
	$(BIN)/python -m coverage report --fail-under=100
	$(BIN)/python -m pytest $(PARALLEL) $(GUARDED_TESTS:%=--ignore=%)

nightly: $(VENV)/installed-tests
	$(BIN)/python -m pytest --nightly --timeout=0 $(PROPERTIES)
	$(BIN)/python -m pytest --nightly $(PARALLEL) tests/crash tests/archiver/test_nights.py

# Killed, or a test is missing: `make mutants SAMPLE=120 SEED=1 MUTATED=floradl/download/plan.py`.
SAMPLE := 60
SEED := 1
MUTATED := $(GUARDED)

mutants: $(VENV)/installed-tests
	$(BIN)/python -m tests.support.mutants --sample $(SAMPLE) --seed $(SEED) $(MUTATED)

coverage: $(VENV)/installed-tests
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage report

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks run
	$(BIN)/python -m benchmarks report

bench-tiny: $(VENV)/installed-tests
	$(BIN)/python -m benchmarks run --tiny
	$(BIN)/python -m benchmarks.gallery --outputs 400 --print

# Both need Chromium.
screenshots: $(VENV)/installed-tests
	$(BIN)/python -m benchmarks.screenshots

bench-gallery: $(VENV)/installed-tests
	$(BIN)/python -m benchmarks.gallery

docs: $(VENV)/installed-tests
	$(BIN)/python -m tests.support.cli_page docs/cli.md
	$(BIN)/python -m tests.support.record

lint: $(VENV)/installed-tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed-tests
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo-archive .coverage .mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis
