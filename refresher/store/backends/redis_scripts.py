"""The Lua scripts of the Redis store: for Redis 6.2 and Valkey, with all keys declared."""

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the SHA-1 digest that a server which has seen it runs it by."""

    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "digest", digest)


WRITE = Script("""
-- KEYS: the document, the counter, the numbers, the bodies to keep, the bodies to drop
-- ARGV: the document's key, its content, the number of its last write, whether it publishes,
--       how many bodies to keep, the channel
local last = redis.call('HGET', KEYS[1], 'number') or '0'
if last ~= ARGV[3] then
    return false
end
local first_drop = 4 + tonumber(ARGV[5])
for i = 4, first_drop - 1 do
    if redis.call('EXISTS', KEYS[i]) == 0 then
        return 3 - i
    end
end
local number = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[1], 'document', ARGV[2], 'number', number)
if ARGV[4] == '1' then
    redis.call('HSET', KEYS[1], 'published', number)
else
    redis.call('HSETNX', KEYS[1], 'published', 0)
end
redis.call('ZADD', KEYS[3], number, ARGV[1])
for i = 4, #KEYS do
    redis.call(i < first_drop and 'PERSIST' or 'UNLINK', KEYS[i])
end
redis.call('PUBLISH', ARGV[6], number .. ' ' .. ARGV[1])
return number
""")
"""The number of the change; nil: the number was not the last, -n: the n-th body to keep is gone."""

FINISH_DRAFT = Script("""
-- KEYS: a draft, the body that it becomes
if redis.call('EXISTS', KEYS[1]) == 0 then
    return 0
end
if redis.call('PTTL', KEYS[2]) == -1 then
    redis.call('PERSIST', KEYS[1])
end
redis.call('RENAME', KEYS[1], KEYS[2])
return 1
""")
"""1, or 0 where the draft is gone. A body that is kept stays so when it is written once more."""

BEAT = Script("""
-- KEYS: the processes, the store's name, the counter
-- ARGV: a process, what to call the store where it is new, how long a beat lasts in milliseconds
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[2], ARGV[2], 'NX')
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
-- The clock was set back, or a replica with another one took over.
for _, early in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')) do
    redis.call('ZADD', KEYS[1], now, early)
end
return {
    redis.call('GET', KEYS[2]),
    time[1] .. '.' .. string.format('%06d', time[2]),
    redis.call('GET', KEYS[3]) or '0',
    unpack(redis.call('ZRANGE', KEYS[1], 0, -1)),
}
""")
"""The store's name, its time in seconds, the number of the last change, the processes alive."""
