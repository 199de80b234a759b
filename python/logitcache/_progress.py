"""How far a command is: told to a function, or shown as a bar."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

#: Called with how much is through, how much there is, and of what: ``"images"``, ``"views"`` or ``"bytes"``.
Callback = Callable[[int, int, str], object]
Progress = bool | Callback

_WARNING = "warning: "


class Listener:
    """What a command tells: notes to the logger ``logitcache``, warnings to `warnings`, progress to a bar or a function.

    Parameters
    ----------
    progress : bool or callable
        True: a bar, where tqdm is installed. False: nothing. Else a `Callback`.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._total, self._unit = 0, ""
        self._bar: Any = None

    def __call__(self, what: str, *details: Any) -> None:
        if what == "note":
            self._note(details[0])
        elif what == "total":
            self._total, self._unit = details
            self._begin()
        else:
            self._advance(*details)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()

    def _note(self, text: str) -> None:
        # Not needed to import the package, which is to be quick.
        import logging
        import warnings

        if text.startswith(_WARNING):
            # Of the function of this package that the user called.
            warnings.warn(text.removeprefix(_WARNING), stacklevel=5)
        else:
            logging.getLogger("logitcache").info(text)

    def _begin(self) -> None:
        if callable(self._progress):
            self._progress(0, self._total, self._unit)
        elif self._progress:
            self._bar = _bar(self._total, self._unit)

    def _advance(self, done: int, failed: int) -> None:
        if callable(self._progress):
            self._progress(done, self._total, self._unit)
        elif self._bar is not None:
            self._bar.update(done - self._bar.n)
            if failed:
                self._bar.set_postfix(failed=failed)


def _bar(total: int, unit: str) -> Any:
    """A bar of tqdm; None where it is not installed."""
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return None
    return tqdm(total=total, unit=unit, unit_scale=unit == "bytes", file=sys.stderr, leave=False)
