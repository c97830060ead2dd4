import gc
import socket
import sys

import pytest
import uvicorn

from refresher.serve.server import Server, exit_at_once


def test_a_signal_before_anything_runs_leaves_with_status_0() -> None:
    with pytest.raises(SystemExit) as ended:
        exit_at_once(15, sys._getframe())  # noqa: SLF001
    assert ended.value.code == 0


async def test_garbage_is_looked_for_once_it_answers_but_not_in_what_the_start_made() -> None:
    config = uvicorn.Config("starlette.applications:Starlette", factory=True, log_config=None)
    config.load()
    server = Server(config, closing=lambda: None, grace=1.0, drain=0.0)
    server.lifespan = config.lifespan_class(config)
    gc.disable()
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            await server.startup(sockets=[listener])
            assert gc.isenabled()
            assert gc.get_freeze_count()
            await server.shutdown(sockets=[listener])
    finally:
        gc.enable()
        gc.unfreeze()
