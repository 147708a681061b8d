"""What jobs report: for each report its JSON object and its lines for people, both in one module.

`archive` (and its dry run), `verify` (and repair), `restore` and `gallery` turn the report that a job returns
into the object of `--json` and into the summary. `status` does so with an archive's numbers, with
`status_facts` for the lines below its table; `metrics` says these numbers to Prometheus. `common` has what
several reports share.

What it promises:

- All of it is pure: a value in, an object or lines out. Commands print them.
- Each object is as docs/report.schema.json and docs/status.schema.json say, with no key more. Its `format`
  and `version` tell programs what they read.
- Text from outside is made printable in every line. No object and no line holds an API key.

It may import `ui` and the reports of the job packages.
"""
