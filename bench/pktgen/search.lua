-- The highest rate without loss, by trials on a generator (generator.lua). Packets a second are those that were sent,
-- by the time from start to stop: neither does a generator keep every rate, nor a delay its length. What `config`
-- holds, and in which units, stands in rfc2544.lua.

local search = {}

local FRAMING = 20 -- octets between frames: preamble, start, gap
local KEPT = 0.99 -- of the rate that was asked for

function search.frames_per_second(mbits, size)
    return mbits * 1e6 / ((size + FRAMING) * 8)
end

-- Behind the box frames are longer: beyond this rate, in per cent, the link there is what loses.
function search.highest(size, box_adds)
    return 100 * (size + FRAMING) / (size + FRAMING + box_adds)
end

local function same(a, b)
    for name, value in pairs(a) do
        if b[name] ~= value then
            return false
        end
    end
    return true
end

-- The counters when they have not moved for a while: drivers and Pktgen read them late, and packets are still under
-- way. Also returns whether they did stand still in the time that there is.
local function standing(g, config)
    local last, since, begun = g.counters(), g.now(), g.now()
    while g.now() - since < config.still do
        if g.now() - begun > config.still_most then
            return last, false
        end
        g.wait(0.5)
        local now = g.counters()
        if not same(now, last) then
            since = g.now()
        end
        last = now
    end
    return last, true
end

-- Sends for at least `seconds`; returns how long it was. In short waits, since a long one takes longer by a fifth.
local function send(g, seconds)
    g.start()
    local begun = g.now()
    while g.now() - begun < seconds do
        g.wait(math.min(0.1, seconds))
    end
    g.stop()
    return g.now() - begun
end

local function one_trial(g, config, rate, seconds, size, mbits)
    g.set_rate(rate)
    g.wait(0.2)
    local before, quiet = g.counters(), true
    if not (g.stood and same(g.stood, before)) then -- else they stand since the trial before
        before, quiet = standing(g, config)
    end
    local took = send(g, seconds)
    local after, still = standing(g, config)
    g.stood = still and after or nil

    local there = { sent = after.out - before.out, missing = 0 }
    there.missing = there.sent - (after.into - before.into)
    local back = { sent = 0, missing = 0 }
    if g.ways == 2 then
        back.sent = after.out_back - before.out_back
        back.missing = back.sent - (after.into_back - before.into_back)
    end
    local t = { rate = rate, seconds = took, sent = there.sent + back.sent, missing = there.missing + back.missing }
    t.pps = t.sent / took
    -- Per cent of the link, as sent. Both ways together, since the slower of the two is the generator's as well.
    t.achieved = 100 * t.pps / (search.frames_per_second(mbits, size) * g.ways)
    t.kept = t.achieved >= KEPT * rate
    if not (quiet and still) then
        t.invalid = "the counters do not stand still: something else sends, or the box holds packets back"
    elseif there.missing < 0 or back.missing < 0 then
        -- Each way by itself: what one way has too many must not hide what the other lacks.
        t.invalid = "more packets came than were sent: late ones of before, or somebody else's"
    end
    t.passed = not t.invalid and t.sent > 0 and t.missing <= config.loss
    local octets = (after.octets or 0) - (before.octets or 0)
    if octets > 0 and there.sent > 0 then
        t.octets = octets / there.sent
    end
    return t
end

-- Sends at `rate` per cent of the link for `seconds`; an invalid trial is repeated. Returns `sent`, `missing`,
-- `seconds` from start to stop, `pps`, the rate `achieved` in per cent, whether the generator `kept` the rate (to one
-- per cent), whether it `passed`, `octets` a frame as the port counts them, if it does; and `invalid`, the reason, when
-- all were.
function search.trial(g, config, rate, seconds, size, mbits, say)
    local t
    for _ = 1, config.repeats do
        t = one_trial(g, config, rate, seconds, size, mbits)
        say("  %5d octets  %7.3f %%  sent %d in %.2f s  missing %d%s%s", size, rate, t.sent, t.seconds, t.missing,
            t.kept and "" or string.format("  (the generator kept %.3f %%)", t.achieved),
            t.invalid and "  invalid: " .. t.invalid or "")
        if not t.invalid then
            break
        end
    end
    return t
end

-- Halves the interval between a rate that passed and one that did not. The first trial is at the highest rate, and
-- shows what the generator keeps: rates beyond that are never sent, so the search goes on from there. Returns the
-- highest rate that passed (0: none did), and whether the generator is what ends there; nil and the trial when one says
-- nothing.
local function halve(g, config, size, mbits, say)
    local top = search.highest(size, config.box_adds)
    local low, high, try = 0, top, top
    while true do
        local t = search.trial(g, config, try, config.search_trial, size, mbits, say)
        if t.invalid or t.sent == 0 then
            return nil, t
        elseif t.passed and try == top then
            return t.kept and top or t.achieved, not t.kept
        elseif t.passed then
            low = try
        else
            high = math.max(t.kept and try or t.achieved, low)
        end
        if high - low <= config.resolution then
            return low, false
        end
        try = (low + high) / 2
    end
end

-- What kept the rate from being higher.
local function limit(t, generator_ends, top)
    if generator_ends or not t.kept then
        return "generator"
    end
    return t.rate >= top and "link" or "box"
end

-- The highest rate that lost nothing at this frame size: its long trial (see search.trial) and what the `limit` is:
-- `box`, `link` or `generator`. Without a trial none passed, and the limit is `box`, `generator` (nothing was sent), or
-- `invalid`.
function search.run(g, config, size, mbits, say)
    local low, ends = halve(g, config, size, mbits, say)
    if not low then
        return nil, ends.invalid and "invalid" or "generator"
    end
    -- The long trial has the last word; each time it finds loss, a step further down.
    while low > 0 do
        local t = search.trial(g, config, low, config.trial, size, mbits, say)
        if t.invalid then
            return nil, "invalid"
        elseif t.passed then
            return t, limit(t, ends, search.highest(size, config.box_adds))
        end
        ends = false
        low = t.kept and low or t.achieved
        low = low - math.max(config.resolution, low * 0.01)
    end
    return nil, "box"
end

return search
