"""The service as a user runs it: a process of its own, a real upstream, and what the contract says.

    async with upstream() as up, serving(tmp_path, config) as service:
        await service.until("/data/rates", 200)

Nothing here is timed by a sleep: what is compared are counts and instants that the upstream noted.
"""
