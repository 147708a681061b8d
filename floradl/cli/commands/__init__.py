"""The commands, a module each.

Each has a function `run`, which gets the resolved settings and returns the exit code. `main` imports a
command's module only when that command runs, so that no command waits for what another needs.

- About an archive: `archive`, `verify`, `restore`, `status`, `gallery`, `schedule`. All but `status` and
  `schedule` turn the settings into options of a job and hand it to `runner.run_job`.
- About an account: `list`, `whoami`.
- About the API key: `login`, `logout`.
- About floradl itself: `config`, `completion`, `demo`.

A command decides nothing about archives: it reads settings, calls a job of `import floradl`, and passes the
report to `reports`. A setting that does not fit raises `UsageError` before anything is done.
"""
