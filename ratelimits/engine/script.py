"""The decision as the store carries it out: one script, one round trip, by the store's clock.

The exact moving window is the one of the ``limits`` library, whose two scripts are wrapped unchanged. Around
them: the clock (theirs takes the caller's, and hosts' clocks differ), several policies at once of which
either all are counted or none, the sliding counter, and the carrying over of counts when an edit changes the algorithm.
"""

from __future__ import annotations

from limits.storage import RedisStorage

STORE_CLOCK = "redis.call('TIME')"

# KEYS: one a policy. ARGV: the cost, then for each key: algorithm, limit, window in seconds, '1' if it refuses.
# Answers for each key: 1 or 0 (within the limit), how many count now, and the microseconds until the oldest
# of them leaves or, when it is too much, until this request would pass. Times are whole microseconds.
_FRAME = """
local function acquire(KEYS, ARGV) @acquire@ end
local function look(KEYS, ARGV) @look@ end

local clock = @clock@
local now = clock[1] * 1000000 + clock[2]
local cost = tonumber(ARGV[1])

local function bucket(window) return now - now % window end

-- A counter: the window it counts by, the begin of its bucket, the counts of this bucket and the one before.
local function counter(key, window)
    local was = redis.call('hmget', key, 'w', 'b', 'c', 'p')
    if not was[1] then return {b = bucket(window), c = 0, p = 0} end
    local w, b, c, p = tonumber(was[1]), tonumber(was[2]), tonumber(was[3]), tonumber(was[4])
    local passed = math.floor((now - b) / w)
    if passed == 1 then b, p, c = b + w, c, 0 elseif passed > 1 then b, p, c = now - (now - b) % w, 0, 0 end
    if w ~= window then
        -- The window was edited: what counts now goes on counting, from now.
        p, c = 0, math.ceil(p * math.max(0, 1 - (now - b) / w) + c)
        b = bucket(window)
    end
    return {b = b, c = c, p = p}
end

local function weighed(state, window)
    return state.p * math.max(0, 1 - (now - state.b) / window) + state.c
end

-- Microseconds until `room` or fewer of what a counter holds still count.
local function until_room(state, window, room)
    local at
    if state.c <= room then
        at = state.b + window * (1 - (room - state.c) / math.max(state.p, 1))
    else
        at = state.b + window + window * (1 - room / state.c)
    end
    return math.max(0, math.ceil(at - now))
end

local function write_counter(key, window, state)
    redis.call('hset', key, 'w', window, 'b', state.b, 'c', state.c, 'p', state.p)
    redis.call('pexpire', key, math.ceil(2 * window / 1000))
end

-- The policy's algorithm was edited: nothing that was counted is forgotten.
local function carry_over(key, algorithm, limit, window)
    local kind = redis.call('type', key).ok
    if algorithm == 'counter' and kind == 'list' then
        local seen = look({key}, {now - window, redis.call('llen', key)})
        redis.call('del', key)
        write_counter(key, window, {b = bucket(window), c = seen and seen[2] or 0, p = 0})
    elseif algorithm == 'moving' and kind == 'hash' then
        local state = counter(key, window)
        local count = math.min(limit, math.ceil(weighed(state, window)))
        redis.call('del', key)
        for _ = 1, count do redis.call('lpush', key, now) end
        if count > 0 then redis.call('pexpire', key, math.ceil(window / 1000)) end
    end
end

local function ask(key, algorithm, limit, window)
    if algorithm == 'counter' then
        local state = counter(key, window)
        local used = weighed(state, window)
        local fits = used + cost <= limit
        local free = fits and (state.b + window - now) or cost > limit and window + 1
            or until_room(state, window, limit - cost)
        return {fits = fits, used = math.ceil(used), free = free, state = state}
    end
    local seen = look({key}, {now - window, limit})
    local used = seen and seen[2] or 0
    local fits = used + cost <= limit
    -- The entry with whose leaving it fits; when it fits, the oldest that counts.
    local entry = used > 0 and cost <= limit and redis.call('lindex', key, fits and used - 1 or limit - cost)
    -- An entry as old as the window still counts, so it leaves a microsecond later.
    return {fits = fits, used = used, free = entry and entry + window - now + 1 or window + 1}
end

local function take(key, algorithm, limit, window, asked)
    if algorithm == 'counter' then
        asked.state.c = asked.state.c + cost
        write_counter(key, window, asked.state)
    else
        local kept = redis.call('pttl', key)
        acquire({key}, {now, limit, window, cost})
        -- A window that was shortened for a moment forgets nothing.
        redis.call('pexpire', key, math.max(kept, math.ceil(window / 1000)))
    end
    asked.used = asked.used + cost
end

local all, asked = true, {}
for i, key in ipairs(KEYS) do
    local at = 4 * i - 2
    local algorithm, limit, window = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2] * 1000000
    carry_over(key, algorithm, limit, window)
    asked[i] = ask(key, algorithm, limit, window)
    if not asked[i].fits and ARGV[at + 3] == '1' then all = false end
end
local answer = {}
for i, key in ipairs(KEYS) do
    local at = 4 * i - 2
    if all and asked[i].fits then
        take(key, ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2] * 1000000, asked[i])
    end
    answer[3 * i - 2] = asked[i].fits and 1 or 0
    answer[3 * i - 1] = asked[i].used
    answer[3 * i] = asked[i].free
end
return answer
"""


def source(clock: str = STORE_CLOCK) -> str:
    """The script; ``clock`` is a Lua expression that gives {seconds, microseconds}."""
    return (
        _FRAME.replace("@acquire@", _text(RedisStorage.SCRIPT_ACQUIRE_MOVING_WINDOW))
        .replace("@look@", _text(RedisStorage.SCRIPT_MOVING_WINDOW))
        .replace("@clock@", clock)
    )


def _text(shipped: object) -> str:
    return shipped.decode() if isinstance(shipped, bytes) else str(shipped)
