"""What a person sees on a terminal.

`console` is the one place where messages, failures and progress go while a command works. On a terminal it
draws progress with `progress_bar`, which lets tqdm draw; elsewhere it writes a plain line every 30 s. `speed`
measures how fast a job moves and how long it will still take. `tables` lays out columns, `units` writes
sizes, durations and numbers as people read them, and `wording` has the names of outputs, places and failures.

What it promises:

- Everything goes to standard error, because standard output is for data. The exceptions are the tables of
  `list` and `status`, which are data; their commands write them.
- No line is wider than the terminal, whatever characters are in it, also after the terminal was resized.
- Off a terminal, and with TERM=dumb, no escape code is written, and tqdm is not even loaded.
- Text from outside is made printable, so that it cannot control the terminal.
- A terminal that is closed never ends a job.

The way of the data: a job counts in its tally; `console` reads the tally every 0.2 s, `speed` turns two
readings into a speed, and `progress_bar` or a plain line shows them.

It may import `repository` (the values of failures, for types) and the ground modules.
"""
