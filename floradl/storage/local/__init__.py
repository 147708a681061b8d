"""An archive's bytes in a folder of this machine, or of a network file system that is mounted on it.

| module | what is in it |
| --- | --- |
| `folder` | `LocalStorage`: writes whole files, makes folders, moves, removes, appends |
| `reader` | reads files, digests, listings |
| `folder_dates` | dates of folders, which tell whether anything in them has changed |
| `partial` | a large file while it comes |
| `direct_io` | writes past the system's cache |
| `fsync` | the steps that durability is made of |
| `no_links` | refusals of symbolic links |
| `known_folders` | which folders need no second look |
| `flock` | the kernel's locks |
| `writer_pool`, `writer_process`, `shared_memory` | processes that write small files |
"""
