"""Loops in processes of their own, to be killed: `python -m ... ROLE FOLDER`."""

import sys
import threading
from pathlib import Path

from streaming.embedded import EmbeddedLog
from streaming.processor import Processor
from streaming.stateful import StatefulLoop
from tests.stream_helpers import MAPS, apply, handle, state


def main(role: str, folder: str) -> None:
    """Work until everything is done."""
    log = EmbeddedLog(Path(folder) / "log.db")
    if role == "process":
        processor = Processor(log, group="g", topics=lambda: [MAPS], handle=handle, batch=20)
        processor.run(threading.Event(), until_idle=True)
    else:
        engine = state(f"sqlite:///{folder}/state.db")
        StatefulLoop(
            name="c", log=log, engine=engine, topics=lambda: [MAPS], apply=apply, batch=20
        ).run(threading.Event(), until_idle=True)
        engine.dispose()
    log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
