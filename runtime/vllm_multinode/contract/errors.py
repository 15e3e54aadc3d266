"""The one exception that a user sees: what is wrong, where, and how to mend it."""

from vllm_multinode.contract.exit_codes import ExitCode


class MultinodeError(Exception):
    """A mistake of input or environment; printed without a traceback.

    Args:
        code: the process's exit status.
        what: one sentence that says what is wrong, with the values.
        where: the variable, file or node that it was found in.
        mend: one sentence that says how to mend it.
    """

    def __init__(self, code: ExitCode, what: str, *, where: str = "", mend: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.where = where
        self.mend = mend

    def __str__(self) -> str:
        """The whole on one line, as it goes to stderr and to the termination log."""
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.mend:
            parts.append(self.mend)
        return " ".join(" ".join(part.split()) for part in parts)
