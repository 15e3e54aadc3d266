"""The one exception that a user sees: what is wrong, where, and how to fix it."""

from vllm_multinode.contract.exit_codes import ExitCode
from vllm_multinode.contract.text import shown


class MultinodeError(Exception):
    """A mistake of input or environment; printed without a traceback.

    Args:
        code: the process's exit status.
        what: one sentence that says what is wrong, with the values.
        where: the variable, file or node that it was found in.
        hint: one sentence that says how to fix it.
    """

    def __init__(self, code: ExitCode, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        """The whole on one line, as it goes to stderr and to the termination log."""
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.hint:
            parts.append(self.hint)
        return " ".join(shown(part) for part in parts)
