"""How a process came to its end, in words."""

import signal


def ending_of(status: int) -> str:
    """What an exit status of `subprocess` says; negative is the signal that killed it."""
    if status >= 0:
        return f"exit status {status}"
    hint = "; is memory short?" if -status == signal.SIGKILL else ""
    return f"{signal.Signals(-status).name}{hint}"
