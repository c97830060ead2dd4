"""When and how a job is refreshed: its schedule, its attempts and what people decide of it."""
