"""The command line: options, commands, what people and machines read, and schedules.

No other package imports this one. A job is called as any program may call it: by `import floradl`.

What it promises:

- Every option can be set by a flag, by a variable (`FLORADL_…`) and in config.toml, because all three are
  made from one table (`options`). `docs/cli.md` is generated from the same table.
- Exit codes say how a job ended; `main` is the one place where errors become exit codes.
- Standard output is for data, standard error for messages. With `--json` a job prints one object.
- `--help` and `--version` answer at once: a command's module, and what it needs, is imported when it runs.
- The API key is in no message, no log, no report and no file of a nightly job.
- The first SIGINT or SIGTERM ends a job in order, a second one at once; nothing is lost by either.

The way of a command line:

    main ─► parser        which command it is, and which options were typed
         ─► config        each option's value, from flags, variables, the config file (`options`, `values`)
         ─► commands/     the command: settings become options of a job
         ─► runner        the job, with its log (`logfile`), its monitor (`healthcheck`), signals (`context`)
                          and the command that runs afterwards (`exec_after`)
         ─► reports/      the job's report becomes an object and lines
         ─► ui/           a person sees them, and progress before them

`keystore` keeps API keys for `login`; `schedule/` describes a nightly job to the system's scheduler.

It may import `jobs`, all other packages, and the ground modules; only the command `demo` imports `simulator`.
"""

__all__ = ("main",)
