"""The exceptions of the package."""

from __future__ import annotations

from typing import Any


class Error(Exception):
    """What stops an operation: what was found, and what to do.

    Attributes
    ----------
    found : str
        What is wrong: expected and found.
    remedy : str
        What can be done; empty where the system's own words say it.
    path : str or None
        The file or folder at fault.
    report : dict or None
        Of a command that ended with an error after its work: its report.
    may_pass : bool
        Whether the same call may succeed later: exit status 75 of the program, for builds in shards alone.
    """

    def __init__(
        self,
        found: str,
        remedy: str = "",
        path: str | None = None,
        report: dict[str, Any] | None = None,
        may_pass: bool = False,
    ) -> None:
        super().__init__(found, remedy, path, report, may_pass)
        self.found = found
        self.remedy = remedy
        self.path = path
        self.report = report
        self.may_pass = may_pass

    def __str__(self) -> str:
        text = self.found if self.path is None else f"{self.path}: {self.found}"
        return f"{text}\n  {self.remedy}" if self.remedy else text


class MissingImage(Error, KeyError):
    """That a cache holds no image of this path, id or view."""
