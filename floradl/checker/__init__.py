"""`verify` and `verify --repair`: is the archive what its manifest says, and what brings it back if not?

What they promise:

- `verify` changes nothing but a note of its date and verdict. It holds the readers' lock, so it works beside
  other readers, and on a disk that is read-only; it needs neither key nor network.
- Exit code 0 says that every recorded file that was read has the bytes that were archived.
- A repair removes nothing that could be of use. A damaged file stays in its place until the new one is whole
  and flushed, and is kept in `.floradl/aside/` where FLORA has other bytes now. A stray is never touched.
- A loss that nothing can mend, which only a canvas snapshot can be, is reported once with exit code 3, and
  told as `lost` from then on.
- A repair may be killed anywhere; the next one goes on.

This package may import `download`, `repository`, `api`, `storage`, `network` and the ground.

The way of a check (`audit`): `recovery` reads the manifest as well as it can be read. The folders above the
entries' are listed, and `adoption` makes entries for what no entry knows. `inspection`, which touches no
disk, compares each entry with its folder, and then with the digests of the files, or of a sample of them
that changes by the day. What is missing is looked for among the strays. Everything that is wrong is a value
in `findings`.

The way of a repair (`repair`): the same check under the writer's lock; `repair_plan` says, without any I/O,
what the findings ask for; the manifest is made anew where it was broken, files are moved back, outputs are
fetched by the workers of `download`, and everything is checked once more. `repair` lists its steps, and why
they stand in this order.

Records that are lost, and all assets, are taken from FLORA's lists where these have them, since a list says
more than the record that can be asked for by id; of what stands on a canvas without an id of its own only
the list knows. All other runs are asked for by id (`download.refetch`).
"""

__all__ = (
    "audit",
    "findings",
    "repair",
    "verify",
)
