"""`floradl logout`: removes the key that `floradl login` kept."""

from __future__ import annotations

from floradl.cli.config import Settings
from floradl.cli.keystore import KeyStore, Place
from floradl.cli.ui.console import Console
from floradl.errors import Exit
from floradl.network import addresses


def run(settings: Settings) -> int:
    """Remove the key of the profile and the API that the settings name. It is no error if none was kept."""
    with Console(quiet=settings.quiet, verbose=settings.verbose) as console:
        places = KeyStore().forget(Place(addresses.check_base_url(settings.base_url), settings.profile))
        if not places:
            console.say("No key was kept for this profile and API.")
            return int(Exit.OK)
        console.say(f"The key is removed from {' and '.join(places)}.")
        console.say(
            "FLORA still accepts it; if others may have seen it, revoke it in FLORA's workspace settings."
        )
        return int(Exit.OK)
