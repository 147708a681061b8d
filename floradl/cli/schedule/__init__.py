"""Nightly jobs: the same command for systemd, launchd, Windows' Task Scheduler and cron.

`job` describes a job once (`NightlyJob`): its name, its command, its time. Each scheduler has one module,
with the text that describes the job to it, and the calls that install, list and remove it. `base` says what a
scheduler can do, and has what they share: calling a program, and writing a file.

What it promises:

- No text that is made here ever holds the API key; a job finds the key when it runs.
- The words of the command arrive unchanged, whatever characters are in the paths. Where a scheduler's format
  cannot hold a path, `UsageError` says so before anything is installed.
- Making the text is pure. Installing calls only the programs that a person would call (`systemctl`,
  `launchctl`, `schtasks`, `crontab`), so that the job can be looked at and removed without floradl.
- Installing the same job again changes nothing; a job of the same name is replaced.

It may import the ground modules, and no other part of floradl.
"""
