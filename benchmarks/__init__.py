"""What floradl costs, measured: whole processes, side by side with other downloaders, in one run.

`python -m benchmarks` (or `make bench`) measures and writes docs/performance.md; see `__main__`. Everything
is fetched from one nginx on loopback that the benchmarks start themselves (`host`). Contenders take turns
(A B C A B C), so that whatever else the machine does meanwhile hits all of them; a figure is the median of
its runs. These are no tests: nothing here fails for being slow, but a contender that breaks, or that
fetches anything but the right number of files and bytes, ends the whole run.
"""
