"""What all commands here do when something goes wrong."""

import os
import sys
from typing import Callable

from lib.console import Failure, report


def guarded(work: Callable[[], int], clean_up: str = "e2e/cluster down") -> int:
    """Runs `work`; a failure that a person can act on is shown without a trace."""
    try:
        return work()
    except Failure as failure:
        report(failure)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted; `{clean_up}` cleans up", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has seen enough. Nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
