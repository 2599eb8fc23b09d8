"""The Lua script that decides in the store: one round trip, by the store's clock.

The exact moving window comes from the ``limits`` library, whose two scripts are wrapped unchanged. This script adds:
the store's clock (theirs uses the caller's, and the clocks of hosts differ), several policies per request, which count
it all together or not at all, the sliding counter, and carrying counts over when an edit changes the algorithm.
"""

from __future__ import annotations

from limits.storage import RedisStorage

STORE_CLOCK = "redis.call('TIME')"

# KEYS: one per policy. ARGV: the cost, then for each key: algorithm, limit, window in seconds, '1' if it can refuse.
# Returns for each key: 1 if the request fits and 0 if not, the number of requests that count now, and the microseconds
# until the oldest of them leaves the window or, if the request does not fit, until it would. Times are whole
# microseconds.
_TEMPLATE = """
local function acquire(KEYS, ARGV) @acquire@ end
local function look(KEYS, ARGV) @look@ end

local clock = @clock@
local now = clock[1] * 1000000 + clock[2]
local cost = tonumber(ARGV[1])

local function bucket(window) return now - now % window end

-- The state of a counter: w = its window, b = the start of its bucket, c and p = the counts of this bucket and of the
-- previous one.
local function counter(key, window)
    local stored = redis.call('hmget', key, 'w', 'b', 'c', 'p')
    if not stored[1] then return {b = bucket(window), c = 0, p = 0} end
    local w, b, c, p = tonumber(stored[1]), tonumber(stored[2]), tonumber(stored[3]), tonumber(stored[4])
    local passed = math.floor((now - b) / w)
    if passed == 1 then b, p, c = b + w, c, 0 elseif passed > 1 then b, p, c = now - (now - b) % w, 0, 0 end
    if w ~= window then
        -- The window was edited: requests that count now keep counting, starting from now.
        p, c = 0, math.ceil(p * math.max(0, 1 - (now - b) / w) + c)
        b = bucket(window)
    end
    return {b = b, c = c, p = p}
end

local function weighted_count(state, window)
    return state.p * math.max(0, 1 - (now - state.b) / window) + state.c
end

-- Microseconds until at most `room` of the counter's requests still count.
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

-- If the policy's algorithm was edited, convert the counts, so that none is lost.
local function carry_over(key, algorithm, limit, window)
    local kind = redis.call('type', key).ok
    if algorithm == 'counter' and kind == 'list' then
        local seen = look({key}, {now - window, redis.call('llen', key)})
        redis.call('del', key)
        write_counter(key, window, {b = bucket(window), c = seen and seen[2] or 0, p = 0})
    elseif algorithm == 'moving' and kind == 'hash' then
        local state = counter(key, window)
        local count = math.min(limit, math.ceil(weighted_count(state, window)))
        redis.call('del', key)
        for _ = 1, count do redis.call('lpush', key, now) end
        if count > 0 then redis.call('pexpire', key, math.ceil(window / 1000)) end
    end
end

local function evaluate(key, algorithm, limit, window)
    if algorithm == 'counter' then
        local state = counter(key, window)
        local used = weighted_count(state, window)
        local fits = used + cost <= limit
        local free = fits and (state.b + window - now) or cost > limit and window + 1
            or until_room(state, window, limit - cost)
        return {fits = fits, used = math.ceil(used), free = free, state = state}
    end
    local seen = look({key}, {now - window, limit})
    local used = seen and seen[2] or 0
    local fits = used + cost <= limit
    -- The entry whose expiry makes room for this request; if it fits already, the oldest entry that counts.
    local entry = used > 0 and cost <= limit and redis.call('lindex', key, fits and used - 1 or limit - cost)
    -- An entry exactly as old as the window still counts, so it expires a microsecond later.
    return {fits = fits, used = used, free = entry and entry + window - now + 1 or window + 1}
end

local function count_request(key, algorithm, limit, window, result)
    if algorithm == 'counter' then
        result.state.c = result.state.c + cost
        write_counter(key, window, result.state)
    else
        local kept = redis.call('pttl', key)
        acquire({key}, {now, limit, window, cost})
        -- Keep the longer expiry, so that shortening a window for a moment loses no counts.
        redis.call('pexpire', key, math.max(kept, math.ceil(window / 1000)))
    end
    result.used = result.used + cost
end

local all, results = true, {}
for i, key in ipairs(KEYS) do
    local at = 4 * i - 2
    local algorithm, limit, window = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2] * 1000000
    carry_over(key, algorithm, limit, window)
    results[i] = evaluate(key, algorithm, limit, window)
    if not results[i].fits and ARGV[at + 3] == '1' then all = false end
end
local answer = {}
for i, key in ipairs(KEYS) do
    local at = 4 * i - 2
    if all and results[i].fits then
        count_request(key, ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2] * 1000000, results[i])
    end
    answer[3 * i - 2] = results[i].fits and 1 or 0
    answer[3 * i - 1] = results[i].used
    answer[3 * i] = results[i].free
end
return answer
"""


def source(clock: str = STORE_CLOCK) -> str:
    """Return the script. ``clock`` is a Lua expression that evaluates to {seconds, microseconds}."""
    return (
        _TEMPLATE.replace("@acquire@", _text(RedisStorage.SCRIPT_ACQUIRE_MOVING_WINDOW))
        .replace("@look@", _text(RedisStorage.SCRIPT_MOVING_WINDOW))
        .replace("@clock@", clock)
    )


def _text(script: object) -> str:
    return script.decode() if isinstance(script, bytes) else str(script)
