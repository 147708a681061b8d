"""Receive the body of one response: write it in large pieces, look at its beginning, watch its speed."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass

from floradl.download.context import Context
from floradl.download.multipart import Multipart
from floradl.download.response import require_announced_size
from floradl.download.streaming import BackgroundFlush, BackgroundWriter, BodyPacer
from floradl.download.tally import ActiveTransfer
from floradl.storage.digest import HEAD_BYTES
from floradl.storage.local.partial import Partial


@dataclass(frozen=True, slots=True)
class Receiver:
    """Receives bodies of one file.

    Args:
        context: shared by the session.
        partial: where the bytes are written.
        progress: the transfer, as a display shows it.
        flush: is told what was written.
        refuse: is given the bytes that follow those in the partial, once the file's head has come or all of
            it; raises to refuse it.
        announced_bytes: the size of the file that is not exceeded; None if there is none.
        multipart: fetches parts further on; it may end a body before its end.
    """

    context: Context
    partial: Partial
    progress: ActiveTransfer
    flush: BackgroundFlush
    refuse: Callable[[list[bytes]], None]
    announced_bytes: int | None
    multipart: Multipart | None

    async def receive(self, body: AsyncIterable[bytes]) -> list[bytes]:
        """Receive a body.

        Returns:
            The last chunks, which are not written yet: all of a small file. Empty if `multipart` has to bring
            the rest, since its parts are joined to what is written.

        Raises:
            TransferError: the body is of no use, came too slowly, or broke off.
            DestinationError: the disk.
        """
        multipart = self.multipart
        writer = BackgroundWriter(self.context, self.partial.append, self.flush)
        pacer = BodyPacer(self.context, self.progress)
        position, is_checked = self.partial.size_bytes, False
        try:
            async for chunk in body:
                writer.add(chunk)
                position += len(chunk)
                waited_s = await pacer.account(len(chunk))
                if not is_checked and position >= HEAD_BYTES:
                    await writer.wait_written()  # the beginning may still be on its way to the partial
                    self.refuse(writer.chunks)
                    is_checked = True
                if multipart is not None:
                    excess_bytes = multipart.note_main(position, len(chunk), waited_s)
                    if excess_bytes is not None:
                        writer.trim(excess_bytes)
                        break
                # Checked at each chunk: a body of unknown length might never end.
                require_announced_size(position, self.announced_bytes, is_whole=False)
                await writer.write_if_due()
            if not is_checked:
                await writer.wait_written()
                self.refuse(writer.chunks)
            if multipart is not None and multipart.is_main_ended:
                await writer.write_rest()
            await writer.wait_written()
        except BaseException:
            # The connection broke off, or the transfer is cancelled. All that came is written, for a later
            # try or a later process to continue from.
            await writer.write_rest()
            raise
        return writer.chunks
