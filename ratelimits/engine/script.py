"""The Lua script that decides in the store: one round trip, by the store's clock.

The exact moving window is kept as the ``limits`` library keeps it, whose search in a window is wrapped unchanged. This
script adds: the store's clock (theirs uses the caller's, and the clocks of hosts differ), several policies per request,
which count it all together or not at all, the sliding counter, carrying counts over when an edit changes the algorithm,
and what a store needs that may be restarted empty, be written to by others, or have its clock set back.

The store's generation is a number that it loses with everything else. A process that names another one gets only the
present one, and asks again with the admissions that it knows.
"""

from __future__ import annotations

STORE_CLOCK = "redis.call('TIME')"

# KEYS: one per policy, then the generation's. ARGV: the cost and the generation that the process knows (0: none), then for
# each policy: algorithm, limit, window in seconds, '1' if it can refuse, how many requests the store counted at least
# before it lost its data (0: it did not), at which time of the store, and how many it doesn't know.
# Returns the generation. If that is the one that the process named, or it named none, then the time of the store, and for
# each policy: 1 if the request fits and 0 if not, the number of requests that count now, and the microseconds until the
# oldest of them leaves the window or, if the request does not fit, until it would. Times are whole microseconds.
_TEMPLATE = """
local clock = @clock@
local now = clock[1] * 1000000 + clock[2]
local cost = tonumber(ARGV[1])
local policies = #KEYS - 1

local stored = redis.pcall('get', KEYS[#KEYS])
local generation = type(stored) == 'string' and tonumber(stored)
if not (generation and generation >= 1 and generation < 2 ^ 53 and generation % 1 == 0) then
    -- Something else that others wrote there.
    if stored then redis.call('del', KEYS[#KEYS]) end
    redis.call('set', KEYS[#KEYS], now)
    generation = now
end
if ARGV[2] ~= '0' and tonumber(ARGV[2]) ~= generation then return {generation} end

-- What most requests don't need is made for those that do: to make a function takes as long as to read an entry.
local rare
local make_rare

local function rarely(name, ...)
    rare = rare or make_rare()
    return rare[name](...)
end

-- How many of the newest requests count, at most the limit, of a list of that length; and the oldest of them, if that was read.
local function in_window(key, limit, window, length)
    local kept = math.min(length, limit)
    if kept == 0 then return 0 end
    local oldest = tonumber(redis.call('lindex', key, kept - 1))
    -- Usually all that are kept. Otherwise it takes a search.
    if oldest and oldest >= now - window then return kept, oldest end
    local seen = rarely('look', {key}, {now - window, limit})
    return seen and seen[2] or 0
end

make_rare = function()
    local function look(KEYS, ARGV) @look@ end

    local function bucket(window) return now - now % window end

    -- The state of a counter: w = its window, b = the start of its bucket, c and p = the counts of this bucket and of the
    -- previous one, s = when it began to count, where it begins now: nothing that was counted before is in it.
    local function counter(key, window)
        local stored = redis.call('hmget', key, 'w', 'b', 'c', 'p')
        local w, b = tonumber(stored[1] or ''), tonumber(stored[2] or '')
        local c, p = tonumber(stored[3] or ''), tonumber(stored[4] or '')
        if not (w and b and c and p) then return {b = bucket(window), c = 0, p = 0, s = now} end
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
        if state.s then redis.call('hset', key, 's', state.s) end
        redis.call('pexpire', key, math.ceil(2 * window / 1000))
    end

    local function evaluate_counter(key, limit, window)
        local state = counter(key, window)
        local used = weighted_count(state, window)
        local fits = used + cost <= limit
        local free = fits and (state.b + window - now) or cost > limit and window + 1
            or until_room(state, window, limit - cost)
        return fits, math.ceil(used), free, state
    end

    -- A counter that begins later than now, because the store's clock was set back, begins now.
    local function repair_counter(key)
        local stored = redis.call('hmget', key, 'w', 'b')
        local w, b = tonumber(stored[1] or ''), tonumber(stored[2] or '')
        if w and b and b > now then redis.call('hset', key, 'b', bucket(w)) end
    end

    -- Remove what others wrote under the key: it would make every request of this client fail. Move entries that are later
    -- than now, because the store's clock was set back: the newest one becomes now, and the others keep their distance.
    local function repair(key, kind, window)
        if kind == 'none' then return end
        if kind == 'hash' then return repair_counter(key) end
        local newest = kind == 'list' and tonumber(redis.call('lindex', key, 0))
        if not newest then redis.call('del', key) end
        if not newest or newest <= now then return end
        local entries = redis.call('lrange', key, 0, -1)
        redis.call('del', key)
        for _, entry in ipairs(entries) do redis.call('rpush', key, (tonumber(entry) or newest) - newest + now) end
        redis.call('pexpire', key, math.ceil(window / 1000))
    end

    -- If the policy's algorithm was edited, convert the counts, so that none is lost.
    local function carry_over(key, kind, algorithm, limit, window)
        if algorithm == 'counter' and kind == 'list' then
            local seen = look({key}, {now - window, redis.call('llen', key)})
            redis.call('del', key)
            write_counter(key, window, {b = bucket(window), c = seen and seen[2] or 0, p = 0, s = now})
        elseif algorithm == 'moving' and kind == 'hash' then
            local state = counter(key, window)
            local count = math.min(limit, math.ceil(weighted_count(state, window)))
            redis.call('del', key)
            for _ = 1, count do redis.call('lpush', key, now) end
            if count > 0 then redis.call('pexpire', key, math.ceil(window / 1000)) end
        end
    end

    local function used(key, algorithm, limit, window)
        if algorithm == 'counter' then return math.ceil(weighted_count(counter(key, window), window)) end
        return (in_window(key, limit, window, redis.call('llen', key)))
    end

    -- Return how long the list is now.
    local function push(key, value, number)
        local some, length = {}, 0
        for i = 1, math.min(number, 1000) do some[i] = value end
        for _ = 1, math.floor(number / 1000) do length = redis.call('lpush', key, unpack(some)) end
        if number % 1000 > 0 then length = redis.call('lpush', key, unpack(some, 1, number % 1000)) end
        return length
    end

    -- Count as many requests as are missing among those that had been counted at that time. New requests are no part of them,
    -- nor what other processes admitted without the store. What was restored is, whenever it was, because another process may
    -- have known of the same requests, and of later ones; its entries end in '.0'. What was restored at an earlier time moves to
    -- this one: part of it may have left the window before this time, and as many others have come.
    local function restore(key, limit, window, at_least, time)
        local entries, newer, known, earlier = redis.call('lrange', key, 0, -1), 0, 0, {}
        for _, entry in ipairs(entries) do
            local at, was_restored = tonumber(entry) or 0, string.sub(entry, -2) == '.0'
            if at > time then newer = newer + 1 end
            if was_restored and at < time then
                earlier[#earlier + 1] = entry
            elseif (was_restored or at <= time) and at >= time - window then
                known = known + 1
            end
        end
        -- A full list has forgotten the requests that left the window meanwhile.
        if #entries >= limit and #earlier == 0 then known = used(key, 'moving', limit, window) end
        local missing = math.min(at_least - known, limit)
        if missing <= 0 then return end
        local moved = {}
        for i = #earlier, math.max(1, #earlier - missing + 1), -1 do moved[earlier[i]] = (moved[earlier[i]] or 0) + 1 end
        for entry, number in pairs(moved) do redis.call('lrem', key, -number, entry) end
        redis.call('ltrim', key, newer, -1)
        push(key, string.format('%.0f.0', time), missing)
        for i = newer, 1, -1 do redis.call('lpush', key, entries[i]) end
    end

    -- Count admissions that the store doesn't know. Several processes may say what it counted at least, so that is counted
    -- once; what they admitted without it is added up, as if it had been admitted now.
    local function count_unknown(key, algorithm, limit, window, at_least, time, more)
        if at_least + more == 0 then return end
        if algorithm == 'counter' then
            local state = counter(key, window)
            state.c = state.c + more + math.max(0, at_least - used(key, algorithm, limit, window))
            write_counter(key, window, state)
            return
        end
        local kept = redis.call('pttl', key)
        if at_least > 0 then restore(key, limit, window, at_least, math.min(time, now)) end
        push(key, now, math.min(more, limit))
        redis.call('ltrim', key, 0, limit - 1)
        redis.call('pexpire', key, math.max(kept, math.ceil(window / 1000)))
    end

    local function prepare(key, algorithm, limit, window, at_least, time, more)
        local kind = redis.call('type', key).ok
        repair(key, kind, window)
        carry_over(key, kind, algorithm, limit, window)
        count_unknown(key, algorithm, limit, window, tonumber(at_least), tonumber(time), tonumber(more))
    end

    return {look = look, prepare = prepare, evaluate_counter = evaluate_counter, write_counter = write_counter, push = push}
end

-- The length of the list of an exact window about which there is nothing to repair, to carry over or to tell.
local function usual_length(key, algorithm, at_least, more)
    local length = algorithm == 'moving' and at_least == '0' and more == '0' and redis.pcall('llen', key)
    if type(length) ~= 'number' or length == 0 then return length == 0 and 0 end
    local newest = tonumber(redis.call('lindex', key, 0))
    return newest and newest <= now and length
end

local all, answer, lengths, states = true, {generation, now}, {}, {}
for i = 1, policies do
    local key, at = KEYS[i], 7 * i - 4
    local algorithm, limit, window = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2] * 1000000
    local length = usual_length(key, algorithm, ARGV[at + 4], ARGV[at + 6])
    if not length then
        rarely('prepare', key, algorithm, limit, window, ARGV[at + 4], ARGV[at + 5], ARGV[at + 6])
        length = algorithm == 'moving' and redis.call('llen', key)
    end
    local fits, used, free
    if algorithm == 'counter' then
        fits, used, free, states[i] = rarely('evaluate_counter', key, limit, window)
    else
        local oldest
        used, oldest = in_window(key, limit, window, length)
        fits = used + cost <= limit
        -- The entry whose expiry makes room for this request; if it fits already, the oldest entry that counts.
        local entry = used > 0 and cost <= limit
            and (fits and oldest or redis.call('lindex', key, fits and used - 1 or limit - cost))
        -- An entry exactly as old as the window still counts, so it expires a microsecond later.
        free = entry and entry + window - now + 1 or window + 1
        lengths[i] = length
    end
    if not fits and ARGV[at + 3] == '1' then all = false end
    answer[3 * i], answer[3 * i + 1], answer[3 * i + 2] = fits and 1 or 0, used, free
end
for i = 1, policies do
    if cost > 0 and all and answer[3 * i] == 1 then
        local key, at = KEYS[i], 7 * i - 4
        local limit, window = tonumber(ARGV[at + 1]), ARGV[at + 2] * 1000000
        if states[i] then
            states[i].c = states[i].c + cost
            rarely('write_counter', key, window, states[i])
        else
            -- Keep the longer expiry, so that shortening a window for a moment loses no counts.
            local kept = lengths[i] > 0 and redis.call('pttl', key) or 0
            local length = cost == 1 and redis.call('lpush', key, now) or rarely('push', key, now, cost)
            if length > limit then redis.call('ltrim', key, 0, limit - 1) end
            redis.call('pexpire', key, math.max(kept, math.ceil(window / 1000)))
        end
        answer[3 * i + 1] = answer[3 * i + 1] + cost
    end
end
return answer
"""

# KEYS: one per policy. ARGV: the cost and the time at which it was counted, then each policy's window in seconds. Takes back
# what was counted then. What an edit has carried over to another form since stays counted, and a counter that began later
# has not counted it: it was forgotten meanwhile, or lost.
TAKE_BACK = """
local cost, at = tonumber(ARGV[1]), tonumber(ARGV[2])
for i, key in ipairs(KEYS) do
    local kind = redis.call('type', key).ok
    if kind == 'list' then
        redis.call('lrem', key, cost, ARGV[2])
    elseif kind == 'hash' then
        local stored = redis.call('hmget', key, 'w', 'b', 's')
        local w, b, s = tonumber(stored[1] or ''), tonumber(stored[2] or ''), tonumber(stored[3] or '')
        local has_it = w and b and w == ARGV[i + 2] * 1000000 and at >= (s or 0)
        local field = has_it and (at >= b and 'c' or at >= b - w and 'p')
        if field then
            local count = tonumber(redis.call('hget', key, field) or '') or 0
            redis.call('hset', key, field, math.max(0, count - cost))
        end
    end
end
return #KEYS
"""


def source(clock: str = STORE_CLOCK) -> str:
    """Return the script. ``clock`` is a Lua expression that evaluates to {seconds, microseconds}."""
    # For one text, it is much to read for a process that limits nothing.
    from limits.storage import RedisStorage  # noqa: PLC0415 - see above

    return _TEMPLATE.replace("@look@", _text(RedisStorage.SCRIPT_MOVING_WINDOW)).replace("@clock@", clock)


def _text(script: object) -> str:
    return script.decode() if isinstance(script, bytes) else str(script)
