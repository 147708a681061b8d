"""Benchmarks: what floradl costs in time and memory, beside other downloaders that do the same work.

`python -m benchmarks` (or `make bench`) measures, and writes docs/performance.md; see `__main__`. Whole
processes are measured. Everything is downloaded from one nginx on loopback, which the benchmarks start
themselves (`host`). The contenders take turns (A B C A B C), so that whatever else the machine does meanwhile
slows all of them down; a figure is the median of its runs.

Benchmarks are not tests: nothing fails for being slow. But a contender that ends with an error, or that
downloads another number of files or bytes than it should, ends the whole run, because its time would mean
nothing.
"""
